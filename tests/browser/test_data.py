"""A text of one's own, from the file to a model that learns it."""

import pytest
from playwright.sync_api import Page, expect

STORY = "Es war einmal in 東京 🙂 ein kleines Modell, das <b>lesen</b> lernte.\n" * 60


@pytest.fixture
def data(page: Page) -> Page:
    page.click(".nav-link:has-text('Data')")
    expect(page.locator("#verified")).to_contain_text("come back")
    return page


def file(content: bytes, name: str = "tale.txt"):
    return {"name": name, "mimeType": "text/plain", "buffer": content}


def test_upload_preview_tokens_initialize_train(data: Page):
    data.set_input_files("#upload", file(STORY.encode()))
    expect(data.locator("#text-message")).to_have_text("tale.txt was added.")
    expect(data.locator("#text-preview")).to_contain_text("<b>lesen</b>")
    expect(data.locator("#text-facts")).to_contain_text("4,020 characters")
    data.locator("#text-tokenizer").select_option("bpe")
    expect(data.locator("#study-state")).to_contain_text("tokens of")
    expect(data.locator("#study-state")).to_contain_text("also occurs in the training text")
    data.click("#train-on")
    corpus = data.locator("label:has-text('Corpus') select")
    expect(corpus.locator("option:checked")).to_have_text("tale.txt")
    data.click("#initialize")
    expect(data.locator(".state")).to_have_text("initialized")
    data.click("#start")
    expect(data.locator(".state")).to_have_text("running")
    expect(data.locator("#panel")).to_contain_text("tale.txt")
    data.wait_for_function(
        "document.querySelector('#loss-chart .js-plotly-plot').data[0].x.length > 5"
    )
    data.click("#stop")
    expect(data.locator(".state")).to_have_text("stopped")


def test_a_picture_is_refused_in_a_sentence(data: Page):
    data.set_input_files("#upload", file(b"\x89PNG\r\n\x1a\n" + bytes(300), "cat.png"))
    expect(data.locator("#text-message")).to_contain_text("cat.png is not a text file")
    expect(data.locator("#upload-line")).to_be_hidden()


def test_a_text_in_another_encoding_is_read_as_the_learner_says(data: Page):
    data.set_input_files(
        "#upload", file("川の向こうに船が七つある。八つ目は。\n".encode("cp932") * 20, "川.txt")
    )
    expect(data.locator("#text-message")).to_contain_text("is not UTF-8")
    right = data.locator("#encodings label", has_text="川の向こうに船が七つある")
    expect(right).to_contain_text("Japanese (Shift JIS)")
    data.locator("#encodings label").nth(1).click()
    right.click()
    data.click("#read-as")
    expect(data.locator("#text-message")).to_have_text("川.txt was added. It was read as cp932.")
    expect(data.locator("#encodings")).to_be_hidden()
    expect(data.locator("#text-preview")).to_contain_text("川の向こうに船")


def test_a_text_can_be_pasted_renamed_and_deleted(data: Page):
    data.click("text=Paste text")
    data.fill("#paste-text", "A text that was pasted into the page. " * 20)
    data.click("#paste")
    expect(data.locator("#text-message")).to_have_text("Pasted text was added.")
    expect(data.locator("#new-name")).to_have_value("Pasted text")
    data.fill("#new-name", "My words")
    data.click("#rename")
    expect(data.locator("#text option:checked")).to_have_text("My words")
    data.click("#delete")
    expect(data.locator("#text option", has_text="My words")).to_have_count(0)


def test_tokens_show_their_ids_to_mouse_and_keyboard(data: Page):
    data.locator("#text-tokenizer").select_option("characters")
    data.fill("#sentence", "the same")
    token = data.locator("#tokens .token").first
    expect(token).to_have_text("t")
    shown = "getComputedStyle(document.querySelector('#tokens .token'), '::after').content"
    assert data.evaluate(shown) == "none"
    token.focus()
    assert data.evaluate(shown).startswith('"id ')


def test_merges_are_replayed_with_the_slider(data: Page):
    data.locator("#text-tokenizer").select_option("bpe")
    expect(data.locator("#merges")).to_be_visible()
    data.fill("#sentence", "the statement")
    expect(data.locator("#merged")).to_contain_text("12 tokens after 1 of 1 merges")
    data.locator("#merge [role=slider]").focus()
    data.keyboard.press("Home")
    expect(data.locator("#merged")).to_contain_text("13 tokens after 0 of")

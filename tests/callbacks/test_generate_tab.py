"""The Generate tab, without a browser."""

import json

import pytest

MARKUP = "<script>alert(1)</script> [x](javascript:alert(1)) **bold**"


def finished(page, until):
    until(lambda: page.read_text() and "writing" not in page.get("generate-caption", "children"))
    return page.get("output", "children")


def test_text_appears_with_the_name_of_who_wrote_it(trained, until):
    trained.generate(prompt="The ", length="50")
    prompt, written = finished(trained, until)
    assert prompt["props"]["children"] == "The "
    assert len(written) == 50
    assert "after step 40" in trained.get("generate-caption", "children")


def test_the_same_seed_writes_the_same_and_zero_is_greedy(trained, until):
    texts = []
    for temperature, seed in (("0.8", "1"), ("0.8", "1"), ("0.8", "2"), ("0", "1"), ("0", "2")):
        trained.generate(prompt="The ", length="60", temperature=temperature, seed=seed)
        texts.append(finished(trained, until)[1])
    assert texts[0] == texts[1] != texts[2]
    assert texts[3] == texts[4]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("prompt", "", "Prompt is empty"),
        ("length", "0", "choose a number from 1"),
        ("temperature", "hot", "choose a number from 0 to 5"),
        ("seed", "-1", "choose a number from 0"),
    ],
)
def test_a_bad_value_is_answered_at_its_control(trained, name, value, why):
    trained.generate(**{"prompt": "The ", name: value})
    assert why in trained.error_at(f"sample.{name}")


def test_unknown_characters_are_named_and_can_be_dropped(trained, until):
    trained.generate(prompt="The \u6771cat", length="5")
    assert "(U+6771)" in trained.error_at("sample.prompt")
    assert trained.get("drop-unknown", "hidden") is False
    trained.generate("drop-unknown", prompt="The \u6771cat", length="5")
    prompt, written = finished(trained, until)
    assert prompt["props"]["children"] == "The cat"
    assert len(written) == 5


def test_markup_is_only_ever_text(trained, until):
    trained.generate(prompt=MARKUP, length="5")
    shown = finished(trained, until)
    assert shown[0] == {
        "props": {"children": MARKUP, "className": "prompt"},
        "type": "Span",
        "namespace": "dash_html_components",
    }
    assert trained.components["output"]["type"] == "Pre"
    layout = trained.client.get("/_dash-layout").get_data(as_text=True)
    assert '"Markdown"' not in layout
    assert "dangerously_allow_html" not in layout


def test_writing_can_be_stopped(trained, until):
    trained.generate(prompt="The ", length="20000")
    until(lambda: len(trained.read_text()) > 20)
    trained.fire("generate-stop.n_clicks", "generate-stop.n_clicks")
    text = json.dumps(finished(trained, until))
    assert len(text) < 20_000
    assert "stopped" in trained.get("generate-caption", "children")


def test_without_a_model_it_says_what_to_do(page):
    page.generate(prompt="The ")
    assert "train one first" in page.get("generate-message", "children")

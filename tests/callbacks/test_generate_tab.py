"""The Generate tab, without a browser."""

import json

import pytest

from transformer_lab.text.corpora import load_corpus
from transformer_lab.ui.generate.xray import shown

MARKUP = "<script>alert(1)</script> [x](javascript:alert(1)) **bold**"


def finished(page, until):
    """The prompt as it stands on the page, and the text."""
    until(lambda: page.read_text() and "writing" not in page.get("generate-caption", "children"))
    prompt, *tokens = page.get("output", "children")
    return prompt, "".join(token["props"]["children"] for token in tokens)


def pick(page, place):
    (writing,) = page.get("writing", "data")["shown"]
    page.values["picked", "data"] = {"writing": writing, "place": str(place)}
    page.fire("picked-body.children", "picked.data")


def control(key):
    return json.dumps({"name": key, "type": "sample-setting"}, separators=(",", ":"))


def text_of(part):
    children = part["props"].get("children") if isinstance(part, dict) else part
    if isinstance(children, list):
        return "".join(map(text_of, children))
    return text_of(children) if isinstance(children, dict) else str(children)


def play(page, at):
    """Let Play ask for the text of a checkpoint."""
    page.values["played", "data"] = at
    known = page.app.callback_map.items()
    key = next(key for key, one in known if one["inputs"] == [{"id": "played", "property": "data"}])
    page.fire(key, "played.data")


def press(page, pattern, name):
    """Press a button among those a part of the page brought."""
    page.values[name, "n_clicks"] = 1
    key = next(key for key in page.app.callback_map if key.startswith("..writing.data@"))
    page.fire(key, f"{name}.n_clicks")
    assert pattern in name


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
        ("temperature", "0,5", "write 0.5"),
        ("temperature", "1e-40", "choose 0, which always"),
        ("seed", "-1", "choose a number from 0"),
    ],
)
def test_a_bad_value_is_answered_at_its_control(trained, name, value, why):
    trained.generate(**{"prompt": "The ", name: value})
    assert why in trained.error_at(f"sample.{name}")


def test_another_model_brings_a_prompt_of_its_own_unless_one_was_typed(trained, lab):
    prompt = '{"name":"prompt","type":"sample-setting"}'
    own = lab.models.prompt("quick-start-1")
    assert own in load_corpus("python_docs", []).text
    for typed, given in (
        ("ROMEO:", {"run": "quick-start-1", "prompt": own, "replaces": "ROMEO:"}),
        ("Mine", None),
    ):
        trained.values |= {
            ("prompt-given", "data"): None,
            (prompt, "value"): typed,
            ("moment-at", "data"): {"run": "quick-start-1", "step": None},
        }
        trained.fire("prompt-given.data", "moment-at.data")
        assert trained.get("prompt-given", "data") == given


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
    prompt, _ = finished(trained, until)
    assert prompt == {
        "props": {"children": MARKUP, "className": "prompt"},
        "type": "Span",
        "namespace": "dash_html_components",
    }
    assert trained.components["output"]["type"] == "Pre"
    layout = trained.client.get("/_dash-layout").get_data(as_text=True)
    assert '"Markdown"' not in layout
    assert "dangerously_allow_html" not in layout


def test_writing_can_be_looked_into_and_stopped_before_it_ends(trained, until):
    trained.generate(prompt="The ", length="20000")
    until(lambda: len(trained.read_text()) > 20)
    pick(trained, 2)  # a token is looked into while the text is still coming
    assert len(trained.get("picked-logits", "data")["tokens"]) > 10
    trained.fire("generate-stop.n_clicks", "generate-stop.n_clicks")
    text = json.dumps(finished(trained, until))
    assert len(text) < 20_000
    assert "stopped" in trained.get("generate-caption", "children")


def test_without_a_model_it_says_what_to_do(page):
    page.generate(prompt="The ")
    assert "train one first" in page.get("generate-message", "children")


def test_every_token_says_how_likely_it_was_and_what_else_could_have_come(trained, until, lab):
    trained.generate(prompt="The ", length="12", temperature="0")
    _, text = finished(trained, until)
    pick(trained, 3)
    body = trained.text("picked-body")
    assert f"“{text[3]}” had" in body.replace("␣", " ").replace("⏎", "\n")
    writing = lab.writings.find(trained.get("writing", "data")["shown"][0])
    one = writing.at_place(3)
    assert one.probability == pytest.approx(float(one.top.spread().softmax(0).max()), rel=1e-5)
    logits = trained.get("picked-logits", "data")  # from which the page redraws the bars
    spread = one.top.spread()
    assert spread[logits["tokens"]].tolist() == pytest.approx(logits["logits"], rel=1e-7)
    assert logits["logits"] == sorted(logits["logits"], reverse=True)
    assert len(logits["tokens"]) + sum(logits["counts"]) == len(spread)
    names = [shown(writing.snapshot.tokenizer.decode([token])) for token in logits["tokens"][:10]]
    rows = trained.get("picked-body", "children")[1]["props"]["children"][1]["props"]["children"]
    assert [text_of(row["props"]["children"][0]) for row in rows] == names


def test_play_writes_the_text_of_each_checkpoint_or_says_why_not(trained, until, lab):
    run_id = lab.trainings.current.status.run_id
    texts = {}
    for step in (0, 40, 0):
        at = {"run": run_id, "step": step, "newest": None}
        play(trained, at)
        assert trained.get("writing", "data")["at"] == at
        texts.setdefault(step, []).append(finished(trained, until)[1])
        assert f"after step {step}" in trained.get("generate-caption", "children")
    assert texts[0][0] == texts[0][1] != texts[40][0]
    trained.values[control("temperature"), "value"] = "hot"
    play(trained, at)
    assert trained.get("writing", "data")["failed"] is True
    assert "Correct the marked settings" in trained.get("generate-message", "children")


def test_a_branch_keeps_what_came_before_and_the_tree_keeps_both(trained, until, lab):
    trained.generate(prompt="The ", length="20", seed="3")
    _, text = finished(trained, until)
    pick(trained, 5)
    trained._keep(trained.get("picked-body", "children"))
    name = next(name for name in trained.components if '"alternative"' in name)
    press(trained, "alternative", name)
    _, branch = finished(trained, until)
    assert branch[:5] == text[:5]
    assert branch[5] != text[5]
    assert len(branch) == 20
    first, second = trained.get("writings", "data")
    assert second["parent"] == first["id"]
    trained.fire("branches.children", "writings.data")
    trained._keep(trained.get("branches", "children"))
    back = next(name for name in trained.components if first["id"] in name)
    press(trained, "writing-button", back)
    assert finished(trained, until)[1] == text


def test_two_moments_of_one_model_answer_side_by_side(trained, until, lab):
    run_id = lab.trainings.current.status.run_id
    trained.fire("against.options", "writer.options")
    trained.values["against", "value"] = run_id
    trained.fire("against-step.options", "against.value")
    steps = [option["value"] for option in trained.get("against-step", "options")]
    assert (steps[0], steps[-1]) == ("40", "0")
    trained.values["against-step", "value"] = "0"
    trained.generate(prompt="The ", length="15")
    until(lambda: trained.read_text() and "done" in trained.get("caption-2", "children"))
    _, new = finished(trained, until)
    _, *old = trained.get("output-2", "children")
    assert len(old) == len(new) == 15
    assert "after step 0" in trained.get("caption-2", "children")
    assert trained.get("output-2-box", "hidden") is False

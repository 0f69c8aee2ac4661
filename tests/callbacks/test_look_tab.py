"""The Look inside tab, without a browser."""

import base64
import copy
from pathlib import Path

import numpy as np
import pytest

import transformer_lab
from transformer_lab.ui.look.importance import job_of
from transformer_lab.ui.look.parts import what_is_open
from waiting import PATIENCE

TEXT = "The quick brown fox. The quick brown fox."
PARTS = ("Overview", "Attention", "Predictions", "Cause", "Embeddings", "Health", "Architecture")
LARGEST = 1_000_000  # bytes of an answer
ODD = [None, True, 1e308, "0 9", [[]], {"place": "x", "job": 1, "points": [{}], "run": []}]


def text_of(part):
    """The words of a part of the page."""
    if isinstance(part, list):
        return "".join(map(text_of, part))
    if isinstance(part, dict):
        return text_of(part["props"].get("children"))
    return "" if part is None else str(part)


def array(spec):
    """Numbers as the browser takes them from a figure."""
    if not isinstance(spec, dict):
        return np.array(spec, dtype=float)
    shape = [int(size) for size in str(spec.get("shape", "-1")).split(",")]
    return np.frombuffer(base64.b64decode(spec["bdata"]), dtype=spec["dtype"]).reshape(shape)


def show(page, part, text=TEXT):
    """Open the tab at one of its parts, with a text, as the page does."""
    page.values["tabs", "active_tab"] = "Look inside"
    page.values["look-tabs", "active_tab"] = part
    if text is not None:
        page.values["look-text", "value"] = text
    page.fire("look-open.data", "look-text.value")
    page.react("look-open.data")
    page.react("cause-parts.data")
    page.react("blocks-known.data")
    return page


def press(page, button, output):
    page.values[button, "n_clicks"] = (page.values.get((button, "n_clicks")) or 0) + 1
    page.fire(output, f"{button}.n_clicks")


def site(index):
    return f'{{"index":"{index}","type":"site-button"}}'


@pytest.fixture
def trained(trained_lab):
    """The page of a lab with one trained model."""
    return trained_lab[1]()


@pytest.fixture
def look(trained):
    return show(trained, "Attention")


def test_the_tab_opens_on_text_the_run_is_judged_on(trained, trained_lab):
    trained.values["tabs", "active_tab"] = "Look inside"
    trained.fire("look-open.data", "tabs.active_tab")
    text = trained.get("look-text", "value")
    assert len(text) > 10
    assert text in trained_lab[0].texts.corpus("python_docs").text
    opened = trained.get("look-open", "data")
    assert opened["run"] == "quick-start-1"
    assert opened["after"] == 40
    assert len(opened["tokens"]) == len(text)


def test_without_a_model_there_is_a_sentence_and_nothing_else(page):
    page.values["tabs", "active_tab"] = "Look inside"
    page.fire("look-open.data", "tabs.active_tab")
    assert "train one first" in page.get("look-problem", "children")
    assert page.get("look-body", "hidden") is True
    assert page.get("look-open", "data") is None


def test_a_text_of_ones_own_stays_until_the_run_s_own_is_asked_for(look):
    assert look.get("look-text", "value") == TEXT
    look.fire("look-open.data", "moment-at.data")
    assert look.get("look-text", "value") == TEXT
    press(look, "look-again", "look-open.data")
    assert look.get("look-text", "value") not in (TEXT, None)


def test_a_long_text_is_cut_and_the_page_says_where(trained):
    show(trained, "Attention", "The " * 50)
    assert len(trained.get("look-open", "data")["tokens"]) == 16
    note = trained.get("look-note", "children")
    assert "200 tokens" in note
    assert "the first 16 are read" in note


def test_unknown_characters_are_named_and_can_be_dropped(look):
    look.values["look-text", "value"] = "The \u6771cat"
    look.fire("look-open.data", "look-text.value")
    assert "(U+6771)" in look.get("look-problem", "children")
    assert look.get("look-drop", "hidden") is False
    press(look, "look-drop", "look-open.data")
    assert look.get("look-text", "value") == "The cat"
    assert len(look.get("look-open", "data")["tokens"]) == 7


def test_an_empty_text_is_answered_in_a_sentence(look):
    look.values["look-text", "value"] = ""
    look.fire("look-open.data", "look-text.value")
    assert "Write a text" in look.get("look-problem", "children")


def test_parts_that_are_not_open_are_not_computed(look):
    look.values["look-tabs", "active_tab"] = "Health"
    for output in ("tiles-chart.figure", "lens-chart.figure", "cause-effect.children"):
        assert look.fire(output, "look-open.data") == {}
    look.values["tabs", "active_tab"] = "Train"
    assert look.fire("look-open.data", "moment-at.data") == {}


def test_tokens_are_options_that_a_keyboard_can_reach(look):
    tokens = [child for child in look.get("look-tokens", "children") if child["type"] == "Span"]
    assert len(tokens) == 16
    assert {token["props"]["role"] for token in tokens} == {"option"}
    assert text_of(tokens[3]) == "·"


def buttons_of(part):
    """The buttons of a drawing, from the top."""
    if isinstance(part, list):
        return [button for child in part for button in buttons_of(child)]
    if not isinstance(part, dict):
        return []
    if part["type"] == "Button":
        return [part["props"]]
    return buttons_of(part["props"].get("children"))


def test_the_overview_draws_this_model_with_the_lengths_of_its_vectors(trained, trained_lab):
    show(trained, "Overview")
    trained.values["look-place", "data"] = {"place": 5}
    trained.fire("overview.children", "look-place.data")
    drawing = trained.get("overview", "children")
    shown = [(text_of(one["children"][0]), one["data-tab"]) for one in buttons_of(drawing)]
    assert shown == [
        ("Output", "Predictions"),
        ("Norm", "Architecture"),
        ("Feed-forward", "Architecture"),
        ("Norm", "Architecture"),
        ("Attention", "Attention"),
        ("Norm", "Architecture"),
        ("Smear", "Architecture"),
        ("N-grams", "Architecture"),
        ("Token embedding", "Embeddings"),
    ]
    what = what_is_open(trained.get("look-open", "data"))
    lens, parts = trained_lab[0].inspector.lens(what), trained_lab[0].inspector.architecture(what)
    words = text_of(drawing)
    for write in lens.writes[:, 5]:
        assert f"adds {write:.2f}" in words
    for length in lens.stream[:, 5]:
        assert f"{length:.1f}" in words
    assert "2 heads · Multi-head · Rotary positions" in words
    assert f"{trained_lab[0].inspector.likeliest(what, 5).probabilities[0]:.0%}" in words
    opened = [parts[int(one["data-part"])].path.split(".")[-1] for one in buttons_of(drawing)]
    assert opened == [
        "head", "norm", "feedforward", "norm_2", "attention", "norm_1", "smear", "ngrams",
        "embedding",
    ]  # fmt: skip


def test_every_row_of_the_enlarged_head_sums_to_one_and_the_future_is_blank(look):
    pattern = array(look.get("head-chart", "figure")["data"][0]["z"])
    assert pattern.shape == (16, 16)
    assert np.nansum(pattern, axis=1) == pytest.approx(np.ones(16), abs=1e-5)
    assert np.array_equal(np.isnan(pattern), np.triu(np.ones((16, 16), dtype=bool), 1))


def test_links_are_the_largest_of_the_picture_s_rows_and_columns(look):
    pattern = np.nan_to_num(array(look.get("head-chart", "figure")["data"][0]["z"]))
    links = look.get("look-links", "data")
    for token in range(16):
        assert links["given"][token][0] == pytest.approx(10_000 * pattern[token].max(), abs=1)
        assert links["sources"][token][0] == pattern[token].argmax()
        assert links["taken"][token][0] == pytest.approx(10_000 * pattern[:, token].max(), abs=1)


def test_small_heads_stand_where_layers_and_heads_say_and_a_click_enlarges_one(look):
    tiles = array(look.get("tiles-chart", "figure")["data"][0]["z"]).astype(float)
    large = np.nan_to_num(array(look.get("head-chart", "figure")["data"][0]["z"]))
    assert (tiles[:16, :16] - 1) / 254 == pytest.approx(large, abs=1 / 254 + 0.004)
    pitch = tiles.shape[1] // 2
    look.values["tiles-chart", "clickData"] = {"points": [{"x": pitch + 3, "y": 5}]}
    look.fire("look-layer.value", "tiles-chart.clickData")
    assert (look.get("look-layer", "value"), look.get("look-head", "value")) == ("0", "1")
    look.fire("head-chart.figure", "look-head.value")
    other = np.nan_to_num(array(look.get("head-chart", "figure")["data"][0]["z"]))
    assert (tiles[:16, pitch : pitch + 16] - 1) / 254 == pytest.approx(other, abs=1 / 254 + 0.004)
    assert not np.allclose(large, other)


def test_a_row_of_the_table_enlarges_its_head(look):
    rows = look.get("measures", "rowData")
    assert [row["name"] for row in rows] == ["layer 1, head 1", "layer 1, head 2"]
    assert 0 < rows[0]["entropy"] < np.log(16)
    look.values["measures", "cellClicked"] = {"rowId": "0 1", "colId": "entropy"}
    look.fire("look-layer.value", "measures.cellClicked")
    assert look.get("look-head", "value") == "1"


def test_a_query_is_followed_step_by_step_to_its_result(look):
    look.values["look-place", "data"] = {"place": 5}
    look.fire("stage-chart.figure", "look-place.data")
    assert look.get("stage-back", "disabled") is True
    seen = {}
    for _ in range(6):
        seen[look.get("stage-title", "children")[3:]] = look.get("stage-chart", "figure")
        press(look, "stage-next", "stage-chart.figure")
    assert look.get("stage-next", "disabled") is True
    scaled, weights = (
        array(next(chart for name, chart in seen.items() if word in name)["data"][0]["y"])
        for word in ("Scores", "Softmax")
    )
    assert np.isnan(scaled[6:]).all()
    assert np.exp(scaled[:6]) / np.exp(scaled[:6]).sum() == pytest.approx(weights[:6], abs=1e-5)
    pattern = array(look.get("head-chart", "figure")["data"][0]["z"])
    assert weights[:6] == pytest.approx(pattern[5, :6], abs=1e-5)
    press(look, "stage-back", "stage-chart.figure")
    assert look.get("stage-title", "children").startswith("6 of 7")


def test_the_last_row_of_the_lens_is_the_prediction_and_a_click_splits_its_logit(trained):
    show(trained, "Predictions")
    figure = trained.get("lens-chart", "figure")["data"][0]
    assert array(figure["z"]).shape == (2, 16)
    assert array(figure["customdata"])[-1] == pytest.approx(0)
    trained.values["lens-chart", "clickData"] = {"points": [{"pointNumber": [0, 4]}]}
    trained.fire("look-place.data", "lens-chart.clickData")
    assert trained.get("look-place", "data")["place"] == 4
    trained.fire("attribution-chart.figure", "look-place.data")
    words = trained.get("attribution-sum", "children")
    assert "After token 5" in words
    assert words.endswith(", the same.")
    parts = array(trained.get("attribution-chart", "figure")["data"][0]["x"])
    logit = float(words.split(" is ")[1].split(",")[0])
    assert parts.sum() == pytest.approx(logit, abs=2e-3)
    assert (np.abs(parts)[1:] >= np.abs(parts)[:-1]).all()  # drawn from below: the largest on top


def test_the_token_in_question_can_be_chosen_without_a_mouse(trained):
    show(trained, "Predictions")
    options = trained.get("explained", "options")
    assert len(options) >= 10
    trained.values["explained", "value"] = options[3]["value"]
    trained.fire("attribution-chart.figure", "explained.value")
    assert trained.get("explained", "value") == options[3]["value"]
    trained.fire("attribution-chart.figure", "look-open.data")
    assert trained.get("explained", "value") == options[3]["value"]


def losses(page):
    rows = page.get("cause-effect", "children")[0]["props"]["children"][1]["props"]["children"]
    return [[text_of(cell) for cell in row["props"]["children"]] for row in rows]


def test_a_pressed_part_changes_the_losses_and_everything_on_brings_them_back(trained):
    show(trained, "Cause")
    calm = losses(trained)
    assert [row[3] for row in calm] == ["+0.000", "+0.000"]
    press(trained, site(2), "cause-off.data")
    assert trained.get("cause-off", "data") == [2]
    assert trained.get(site(2), "aria-pressed") == "true"
    trained.fire("cause-effect.children", "cause-off.data")
    changed = losses(trained)
    assert [row[1] for row in changed] == [row[1] for row in calm]
    assert [row[2] for row in changed] != [row[2] for row in calm]
    press(trained, site(2), "cause-off.data")
    assert trained.get("cause-off", "data") == []
    press(trained, site(0), "cause-off.data")
    press(trained, "cause-clear", "cause-off.data")
    assert trained.get("cause-off", "data") == []
    trained.fire("cause-effect.children", "cause-off.data")
    assert losses(trained) == calm


def test_a_patch_from_the_same_text_changes_nothing_and_from_another_it_does(trained):
    show(trained, "Cause")
    trained.values["cause-kind", "value"] = "patch"
    trained.values["cause-off", "data"] = [0, 1, 2]
    trained.fire("cause-effect.children", "cause-kind.value")
    assert "second text" in trained.get("cause-problem", "children")
    trained.values["cause-where", "value"] = "everywhere"
    for source, same in ((TEXT, True), ("zzzz zzzz zzzz zzzz", False)):
        trained.values["cause-source", "value"] = source
        trained.fire("cause-effect.children", "cause-source.value")
        assert (losses(trained)[1][3] in ("+0.000", "-0.000")) == same


def test_importance_is_measured_part_by_part_and_known_afterwards(trained, trained_lab):
    show(trained, "Cause")
    for _ in range(2):  # the second time from what is kept
        press(trained, "importance-start", "importance-job.data")
        job = job_of(trained_lab[0], trained.get("importance-job", "data"))
        assert job.wait(PATIENCE)
        trained.fire("importance-chart.figure", "importance-tick.n_intervals")
        assert "3 of 3 parts" in trained.get("importance-state", "children")
        drawn = trained.get("importance-chart", "figure")["data"][0]
        found = array(drawn["z"])
        words = [word for row in drawn["text"] for word in row]
        assert [word.startswith("(") for word in words] == (found.ravel() == 0).tolist()
        assert found.shape == (1, 3)
        assert np.isfinite(found).all()
        assert trained.get("importance-tick", "disabled") is True
        assert trained.get("importance-body", "hidden") is False


def test_a_job_can_be_stopped(trained, trained_lab):
    show(trained, "Cause")
    press(trained, "induction-start", "induction-job.data")
    job = job_of(trained_lab[0], trained.get("induction-job", "data"))
    press(trained, "induction-stop", "induction-job.data")
    assert job.stopped
    assert job.wait(PATIENCE)


def test_the_check_for_induction_heads_ends_in_a_verdict(trained, trained_lab):
    show(trained, "Cause")
    press(trained, "induction-start", "induction-job.data")
    assert job_of(trained_lab[0], trained.get("induction-job", "data")).wait(PATIENCE)
    trained.fire("induction-state.children", "induction-tick.n_intervals")
    words = trained.text("induction-state")
    assert "confirmed" in words.lower()
    assert "random tokens written twice, after step 40" in words


def test_axes_of_the_embeddings_stay_while_the_slider_moves(trained):
    show(trained, "Embeddings")
    now = trained.get("embedding-chart", "figure")
    trained.values["moment-at", "data"] = {"run": "quick-start-1", "step": 4, "newest": None}
    show(trained, "Embeddings", None)
    assert trained.get("look-open", "data")["after"] == 4
    then = trained.get("embedding-chart", "figure")
    for axis in ("xaxis", "yaxis"):
        assert then["layout"][axis]["range"] == now["layout"][axis]["range"]
    assert not np.allclose(array(then["data"][0]["x"]), array(now["data"][0]["x"]))
    assert "stay while the slider moves" in trained.get("embedding-note", "children")


def test_a_token_has_its_nearest_neighbours_and_a_click_chooses_it(trained):
    show(trained, "Embeddings")
    table = trained.get("neighbours", "children")
    cosines = [
        float(text_of(row["props"]["children"][1]))
        for row in table["props"]["children"][1]["props"]["children"]
    ]
    assert cosines == sorted(cosines, reverse=True)
    trained.values["embedding-chart", "clickData"] = {"points": [{"customdata": 7}]}
    trained.react("embedding-chart.clickData")
    assert trained.get("embedding-token", "value") == "7"


def test_health_is_that_of_the_moment(trained):
    show(trained, "Health")
    assert "From step 32 to step 40" in trained.get("updates-note", "children")
    assert len(trained.get("gradients-chart", "figure")["data"][0]["y"]) > 5
    trained.values["moment-at", "data"] = {"run": "quick-start-1", "step": 0, "newest": None}
    show(trained, "Health", None)
    assert "first moment" in trained.get("updates-note", "children")


def test_the_drawing_shows_the_very_lines_that_run(trained):
    show(trained, "Architecture")
    blocks = trained.get("blocks", "children")
    names = [text_of(block["props"]["children"][0]) for block in blocks]
    assert names[0] == "The whole model"
    place = names.index("Attention")
    press(trained, f'{{"index":"{place}","type":"block-button"}}', "block.data")
    trained.fire("block-head.children", "block.data")
    shown = trained.get("block-code", "children")[0]["props"]["children"]
    file, line = text_of(shown[0]).split(":")
    source = (Path(transformer_lab.__file__).parents[1] / file).read_text().splitlines(True)
    lines = text_of(shown[1]).splitlines(True)
    assert source[int(line) - 1 :][: len(lines)] == lines
    assert "class MultiHeadAttention" in lines[0]
    assert "(H 2, Q 16, S 16)" in trained.text("block-tensors")
    assert trained.get("block-picture", "hidden") is False


def test_a_model_that_trains_is_followed(page, lab, until):
    page.set({"train.steps": "1000000", "train.evaluate_every": "1000000"})
    page.click("start")
    until(
        lambda: (
            lab.trainings.current
            and lab.trainings.current.snapshot
            and lab.trainings.current.snapshot.step > 0
        )
    )
    show(page, "Attention", None)
    first = page.get("look-open", "data")
    assert first["weights"].startswith("live")
    until(lambda: lab.trainings.current.snapshot.step > first["after"])
    page.fire("look-open.data", "moment-at.data")
    second = page.get("look-open", "data")
    assert second["after"] > first["after"]
    assert second["tokens"] == first["tokens"]
    assert page.fire("tiles-chart.figure", "look-open.data")
    lab.trainings.stop()


def test_a_post_norm_model_says_why_its_logit_is_no_sum(page, lab):
    page.set({"model.norm_place": "post", "model.positions": "rotary"})
    page.click("initialize")
    assert lab.trainings.wait(PATIENCE)
    show(page, "Predictions", None)
    assert "Norm Position is post" in page.get("attribution-problem", "children")
    assert page.get("attribution-body", "hidden") is True
    assert "post-norm" in page.get("lens-note", "children")


def test_an_answer_of_a_long_context_stays_small(page, lab):
    page.set({"model.layers": "4", "model.heads": "4", "model.sequence_length": "256"})
    page.click("initialize")
    assert lab.trainings.wait(PATIENCE)
    text = lab.texts.corpus("python_docs").text[:300]
    sizes = {}
    for part in PARTS:
        page.values["look-tabs", "active_tab"] = part
        page.values["tabs", "active_tab"] = "Look inside"
        page.values["look-text", "value"] = text
        page.fire("look-open.data", "look-text.value")
        for key, known in page.app.callback_map.items():
            listens = [f"{one['id']}.{one['property']}" for one in known["inputs"]]
            if "look-open.data" in listens and "callback" in known:
                page.fire(key, "look-open.data")
                sizes[part, key] = len(page.last.get_data())
    assert len(page.get("look-open", "data")["tokens"]) == 256
    assert max(sizes.values()) > 100_000
    assert {key: size for key, size in sizes.items() if size > LARGEST} == {}


def test_no_odd_value_is_a_server_error(look):
    codes = {}
    for key, known in look.app.callback_map.items():
        names = {one["id"] for one in [*known["inputs"], *known["state"]]}
        if "callback" not in known or not names & {"look-open", "look-given", "blocks-known"}:
            continue
        changed = "{id}.{property}".format(**known["inputs"][0])
        for part in PARTS:  # that in which this callback has something to say
            look.values["look-tabs", "active_tab"] = part
            body = look.body(key, changed)
            if look.post(body).status_code == 200:
                break
        places = [(group, n) for group in ("inputs", "state") for n in range(len(body[group]))]
        for group, place in places:
            if isinstance(body[group][place], dict) and body[group][place]["id"] != "look-tabs":
                for odd in ODD:
                    spoiled = copy.deepcopy(body)
                    spoiled[group][place]["value"] = odd
                    name = key[:40], body[group][place]["id"], str(odd)
                    answer = look.post(spoiled)
                    codes[name] = answer.status_code, b"Something went wrong" in answer.get_data()
    assert len(codes) > 400
    assert {n: code for n, code in codes.items() if code[0] >= 500 or code[1]} == {}

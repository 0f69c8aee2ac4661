"""The texts on the page: what is new of them comes at each poll, until they are done."""

from collections.abc import Sequence

from dash import Dash, Input, Output, Patch, State, html, no_update
from dash.development.base_component import Component

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.writing import Writing
from transformer_lab.ui.generate import ids, xray
from transformer_lab.ui.generate.state import Read, Shown, stop


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of the texts and of Stop."""

    @app.callback(
        output={
            "texts": [Output(ids.OUTPUT, "children"), Output(ids.OUTPUT_2, "children")],
            "captions": [
                Output(ids.GENERATE_CAPTION, "children"),
                Output(ids.CAPTION_2, "children"),
            ],
            "second_hidden": Output(ids.OUTPUT_2_BOX, "hidden"),
            "written": Output(ids.WRITTEN, "data"),
            "polls": Output(ids.GENERATE_TICK, "max_intervals"),
            "stop_off": Output(ids.GENERATE_STOP, "disabled"),
        },
        inputs={
            "tick": Input(ids.GENERATE_TICK, "n_intervals"),
            "wanted": Input(ids.WRITING, "data"),
        },
        state={"written": State(ids.WRITTEN, "data")},
        prevent_initial_call=True,
        # One at a time: Dash drops an answer when the same question has been asked again.
        running=[(Output(ids.GENERATE_TICK, "disabled"), True, False)],
    )
    def show(
        tick: int | None, wanted: Shown | None, written: dict[str, Read] | None
    ) -> dict[str, object]:
        """What is new of the text or texts, and which model they are of."""
        found = [lab.writings.find(name) for name in (wanted or {}).get("shown", [])[:2]]
        return _news(found, written or {})

    @app.callback(
        Output(ids.GENERATE_STOP, "n_clicks"),
        inputs={"pressed": Input(ids.GENERATE_STOP, "n_clicks")},
        state={"shown": State(ids.WRITING, "data")},
        prevent_initial_call=True,
    )
    def halt(pressed: int | None, shown: Shown | None) -> object:
        """End the generation; what is there stays."""
        stop(lab, shown)
        return no_update


def _news(found: Sequence[Writing | None], written: dict[str, Read]) -> dict[str, object]:
    """What the page, which has so much of one or two texts, is to add of them."""
    # Asked before the text is read: what is done then is read whole.
    ended = [writing is None or writing.job.done for writing in found]
    texts: list[object] = [no_update, no_update]
    captions: list[object] = [no_update, no_update]
    seen: dict[str, Read] = {}
    done = not found or found[0] is None or all(ended)
    polls = 0 if done else -1  # -1 is without end
    answer = {"texts": texts, "captions": captions, "polls": polls, "stop_off": done}
    if not found or found[0] is None:
        return answer | {"second_hidden": no_update, "written": no_update}
    for place, writing in enumerate(found):
        if writing is not None:
            before = written.get(str(place))
            cursor = before["n"] if before and before["id"] == writing.id else 0
            texts[place], count = _text(writing, cursor)
            captions[place] = _caption(writing, count, ended[place])
            seen[str(place)] = {"id": writing.id, "n": count}
    return answer | {"second_hidden": len(found) < 2, "written": seen}


def _text(writing: Writing, cursor: int) -> tuple[list[Component | str] | Patch | object, int]:
    """The whole text, or only what is to be added to the first `cursor` tokens of it."""
    tokens, count = writing.since(cursor)
    if cursor == 0:
        prompt = html.Span(writing.config.prompt, className="prompt")
        return [prompt, *xray.marked(writing, tokens, 0)], count
    if not tokens:
        return no_update, count
    added = Patch()
    added.extend(xray.marked(writing, tokens, cursor))
    return added, count


def _caption(writing: Writing, count: int, ended: bool) -> str:
    job = writing.job
    if ended and job.error:
        return job.error
    run = writing.snapshot.run_id or "the untrained model"
    how = "stopped" if job.stopped else "done" if ended else "writing"
    return f"Written by {run} after step {writing.snapshot.step:,} · {count:,} tokens · {how}"

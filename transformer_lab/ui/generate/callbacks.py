"""The Generate tab: a prompt, how to draw, the text as it is made, and what lies behind each token.

Its layout is in `ui/generate/layout.py`, the marking of tokens in `ui/generate/xray.py`.
"""

from typing import Any

from dash import ALL, Dash, Input, Output, Patch, State, ctx, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.generation import SampleConfig
from transformer_lab.lab.lab import UNTRAINED, Lab, LabError
from transformer_lab.lab.writing import Writing
from transformer_lab.recipes import SETTINGS, load_recipes
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.settings import ConfigError
from transformer_lab.text.tokenizers import UnknownTextError
from transformer_lab.ui import form, ids, moment_bar
from transformer_lab.ui.generate import xray
from transformer_lab.ui.generate.layout import NOTHING, layout

__all__ = ["TITLE", "layout", "register"]

TITLE = "Generate"
ANY_SAMPLE_SETTING = {"type": "sample-setting", "name": ALL}
ANY_PROBLEM = {"type": "sample-problem", "group": "sample", "name": ALL}
ANY_ALTERNATIVE = {"type": "alternative", "token": ALL}
ANY_WRITING = {"type": "writing-button", "writing": ALL}


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this tab."""
    _register_prompt(app, lab)
    _register_begin(app, lab)
    _register_branches(app, lab)
    _register_text(app, lab)
    _register_token(app, lab)
    _register_against(app, lab)


def _register_prompt(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output({"type": "sample-setting", "name": "prompt"}, "value", allow_duplicate=True),
        Output(ids.PROMPT_GIVEN, "data"),
        Input(ids.MOMENT_AT, "data"),
        State({"type": "sample-setting", "name": "prompt"}, "value"),
        State(ids.PROMPT_GIVEN, "data"),
        prevent_initial_call=True,
    )
    def given(at: Any, prompt: Any, known: Any) -> tuple[Any, Any]:
        """Another model: a prompt of its own, unless one was typed."""
        known = known if isinstance(known, dict) else {}
        run, _ = moment_bar.chosen(at)
        recipes = {recipe.setup.sample.prompt for recipe in load_recipes().values()}
        if known.get("run") == run or prompt not in {known.get("prompt"), *recipes}:
            raise PreventUpdate
        try:
            fresh = lab.models.prompt(run)
        except (LabError, RunNotFoundError):
            raise PreventUpdate from None
        return fresh, {"run": run, "prompt": fresh}


def _register_begin(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.WRITING, "data"),
        Output(ids.GENERATE_MESSAGE, "children"),
        Output(ANY_PROBLEM, "children"),
        Output(ids.DROP_UNKNOWN, "hidden"),
        Output({"type": "sample-setting", "name": "prompt"}, "value", allow_duplicate=True),
        Output(ids.WRITINGS, "data"),
        Input(ids.GENERATE, "n_clicks"),
        Input(ids.DROP_UNKNOWN, "n_clicks"),
        State(ANY_SAMPLE_SETTING, "value"),
        State(ANY_SAMPLE_SETTING, "id"),
        State(ids.MOMENT_AT, "data"),
        State(ids.AGAINST, "value"),
        State(ids.AGAINST_STEP, "value"),
        State(ids.WRITING, "data"),
        State(ids.WRITINGS, "data"),
        prevent_initial_call=True,
    )
    def begin(*args: Any) -> tuple[Any, Any, list[str], bool, Any, Any]:
        """Start writing, or say in one sentence why not."""
        _, _, values, control_ids, at, against, against_step, previous, tree = args
        _stop(lab, previous)
        given = {item["name"]: value for item, value in zip(control_ids, values, strict=True)}
        names = [item["id"]["name"] for item in ctx.outputs_list[2]]
        problems: dict[str, str] = {}
        message, unknown = "", False
        prompt: Any = no_update
        try:
            config, problems = config_of(given)
            if config is None:
                raise LabError("Correct the marked settings first.")
            name, step = moment_bar.chosen(at)
            if ctx.triggered_id == ids.DROP_UNKNOWN:
                config = lab.models.without_unknown(name, config)
                prompt = config.prompt
            made = [lab.writings.begin(lab.models.snapshot(name, step), config)]
            if against not in (None, NOTHING):
                other = int(against_step) if str(against_step).isdigit() else None
                made.append(lab.writings.begin(lab.models.snapshot(str(against), other), config))
            tree = [*(tree or []), *[_entry(writing) for writing in made]]
            shown = {"shown": [writing.id for writing in made]}
            return shown, "", ["" for _ in names], True, prompt, tree
        except UnknownTextError as error:
            problems, unknown = {"sample.prompt": str(error)}, True
        except ConfigError as error:
            problems = {error.field: str(error)}
        except LabError as error:
            message = str(error)
        marks = [problems.get(f"sample.{name}", "") for name in names]
        return no_update, message, marks, not unknown, no_update, no_update


def _entry(writing: Writing) -> dict[str, Any]:
    """A writing as the page remembers it."""
    who = f"{writing.snapshot.run_id or UNTRAINED}, step {writing.snapshot.step:,}"
    begin = " ".join(writing.config.prompt.split())[:16]
    label = f"{begin} … · {who}"
    if writing.parent:
        left = writing.since()[0][: writing.at + 1]
        label = f"…{''.join(one.text for one in left[-8:])}".replace("\n", "⏎")
    return {"id": writing.id, "parent": writing.parent, "label": label}


def _register_branches(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.WRITING, "data", allow_duplicate=True),
        Output(ids.WRITINGS, "data", allow_duplicate=True),
        Output(ids.GENERATE_MESSAGE, "children", allow_duplicate=True),
        Input(ANY_ALTERNATIVE, "n_clicks"),
        Input(ANY_WRITING, "n_clicks"),
        State(ids.PICKED, "data"),
        State(ids.WRITING, "data"),
        State(ids.WRITINGS, "data"),
        State(ANY_SAMPLE_SETTING, "value"),
        State(ANY_SAMPLE_SETTING, "id"),
        prevent_initial_call=True,
    )
    def branch(
        taken: Any, asked: Any, picked: Any, shown: Any, tree: Any, values: Any, control_ids: Any
    ) -> tuple[Any, Any, Any]:
        """Write on with another token, or show a text made before."""
        pressed = ctx.triggered_id
        if not isinstance(pressed, dict) or not ctx.triggered[0]["value"]:
            raise PreventUpdate
        if pressed["type"] == "writing-button":
            return {"shown": [pressed["writing"]]}, no_update, ""
        given = {item["name"]: value for item, value in zip(control_ids, values, strict=True)}
        config, _ = config_of(given)
        parent, place = _picked(lab, picked)
        if parent is None or config is None:
            raise PreventUpdate
        try:
            made = lab.writings.branch(parent, place, int(pressed["token"]), config)
        except ConfigError as error:
            return no_update, no_update, str(error)
        if made is None:
            raise PreventUpdate
        return {"shown": [made.id]}, [*(tree or []), _entry(made)], ""

    @app.callback(
        Output(ids.BRANCHES, "children"),
        Input(ids.WRITINGS, "data"),
        Input(ids.WRITING, "data"),
        prevent_initial_call=True,
    )
    def drawn(tree: Any, shown: Any) -> Any:
        """The tree of all texts, those on the page marked."""
        tree = [entry for entry in tree or [] if lab.writings.find(entry["id"])]
        known = {entry["id"] for entry in tree}
        roots = [entry for entry in tree if entry["parent"] not in known]
        open_now = (shown or {}).get("shown", [])
        return [_branch(root, tree, open_now, 0) for root in roots[::-1]]


def _branch(entry: Any, tree: list[Any], open_now: list[str], depth: int) -> html.Div:
    children = [other for other in tree if other["parent"] == entry["id"]]
    current = {"aria-current": "true"} if entry["id"] in open_now else {}
    button = html.Button(
        entry["label"], id=ids.writing_button(entry["id"]), className="link branch", **current
    )
    below = [_branch(child, tree, open_now, depth + 1) for child in children]
    return html.Div([button, *below], className="branch-level" if depth else "")


def _register_text(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.OUTPUT, "children"),
        Output(ids.GENERATE_CAPTION, "children"),
        Output(ids.OUTPUT_2, "children"),
        Output(ids.CAPTION_2, "children"),
        Output(ids.OUTPUT_2_BOX, "hidden"),
        Output(ids.WRITTEN, "data"),
        Output(ids.GENERATE_TICK, "disabled"),
        Output(ids.GENERATE_STOP, "disabled"),
        Input(ids.GENERATE_TICK, "n_intervals"),
        Input(ids.WRITING, "data"),
        State(ids.WRITTEN, "data"),
        prevent_initial_call=True,
    )
    def show(tick: Any, wanted: Any, written: Any) -> tuple[Any, ...]:
        """What is new of the text or texts, and who wrote them."""
        names = (wanted or {}).get("shown", [])
        found = [lab.writings.find(name) for name in names[:2]]
        # Asked before the text is read: what is done then is read whole.
        ended = [writing is None or writing.job.done for writing in found]
        if not found or found[0] is None:
            return (*[no_update] * 6, True, True)
        written = written if isinstance(written, dict) else {}
        seen: dict[str, Any] = {}
        parts: list[Any] = []
        for place, writing in enumerate(found):
            if writing is not None:
                before = written.get(str(place), {})
                cursor = before.get("n", 0) if before.get("id") == writing.id else 0
                text, count = _text(writing, cursor)
                seen[str(place)] = {"id": writing.id, "n": count}
                parts += [text, _caption(writing, count, ended[place])]
        done = all(ended)
        parts += [no_update, no_update] * (len(parts) < 4)
        return (*parts, len(found) < 2, seen, done, done)

    @app.callback(
        Output(ids.GENERATE_STOP, "n_clicks"),
        Input(ids.GENERATE_STOP, "n_clicks"),
        State(ids.WRITING, "data"),
        prevent_initial_call=True,
    )
    def stop(pressed: Any, shown: Any) -> Any:
        """End the writing; what is there stays."""
        _stop(lab, shown)
        return no_update


def _text(writing: Writing, cursor: int) -> tuple[Any, int]:
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


def _register_token(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.PICKED_HEAD, "children"),
        Output(ids.PICKED_BODY, "children"),
        Input(ids.PICKED, "data"),
        Input(ANY_SAMPLE_SETTING, "value"),
        State(ANY_SAMPLE_SETTING, "id"),
        prevent_initial_call=True,
    )
    def picked(at: Any, values: Any, control_ids: Any) -> tuple[Any, Any]:
        """What else could have come there; from stored logits, so the model need not run again."""
        writing, place = _picked(lab, at)
        one = writing.at_place(place) if writing else None
        given = {item["name"]: value for item, value in zip(control_ids, values, strict=True)}
        config, _ = config_of(given | {"prompt": "x"})
        if writing is None or one is None or config is None:
            raise PreventUpdate
        return xray.token_head(writing, place, one), xray.token_body(writing, one, config)


def _picked(lab: Lab, at: Any) -> tuple[Writing | None, int]:
    at = at if isinstance(at, dict) else {}
    place = str(at.get("place", ""))
    return lab.writings.find(at.get("writing")), int(place) if place.isdigit() else -1


def _register_against(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.AGAINST, "options"),
        Input(ids.WRITER, "options"),
    )
    def models(options: Any) -> list[Any]:
        """The same models as on the bar."""
        named = [option for option in options or [] if option["value"] != moment_bar.NEWEST]
        return [{"value": NOTHING, "label": "nothing"}, *named]

    @app.callback(
        Output(ids.AGAINST_STEP, "options"),
        Output(ids.AGAINST_STEP, "value"),
        Output(ids.AGAINST_STEP, "disabled"),
        Input(ids.AGAINST, "value"),
    )
    def moments(name: Any) -> tuple[list[Any], Any, bool]:
        """The moments of that model's life."""
        if name in (None, NOTHING):
            return [], "", True
        try:
            steps = lab.models.moments(str(name))
        except LabError:
            return [], "", True
        options = [{"value": str(step), "label": f"after step {step:,}"} for step in steps]
        return options[::-1], str(steps[-1]), False


def config_of(given: dict[str, Any]) -> tuple[SampleConfig | None, dict[str, str]]:
    """What stands in the controls, and what is wrong with it by dotted name."""
    values = [(SETTINGS[f"sample.{name}"], value) for name, value in given.items()]
    return form.read_config(SampleConfig, values)


def _stop(lab: Lab, shown: Any) -> None:
    for name in (shown or {}).get("shown", []) if isinstance(shown, dict) else []:
        if writing := lab.writings.find(name):
            writing.job.stop()

"""The form of the Train tab: a recipe fills it, every change is checked at once."""

from collections.abc import Mapping, Sequence
from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import (
    SETTINGS,
    Recipe,
    Setup,
    changed_settings,
    differences,
    setup_from,
)
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.text.corpora import SIZES, TITLES
from transformer_lab.ui import form, words
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.train import ids, sections
from transformer_lab.ui.train.plan import Branch, Controls, plan, read, recipe_named

ANY_SETTING = {"type": "setting", "group": ALL, "name": ALL}
ANY_SAMPLE_SETTING = {"type": "sample-setting", "name": ALL}
ANY_PROBLEM = {"type": "problem", "group": ALL, "name": ALL}
MOST_NAMED = 3  # settings in the line that says how far a setup is from the tutorial


def register(app: Dash, lab: Lab) -> None:
    """What the form answers to."""
    _register_filling(app, lab)
    _register_checking(app, lab)
    _register_sections(app)


def _register_filling(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "settings": Output(ANY_SETTING, "value"),
            "samples": Output(ANY_SAMPLE_SETTING, "value"),
            "summary": Output(ids.RECIPE_SUMMARY, "children"),
            "recipe": Output(ids.RECIPE, "value"),
        },
        inputs={
            "slug": Input(ids.RECIPE, "value"),
            "branch": Input(ids.BRANCH, "data"),
            "presses": [Input(ids.UNDO, "n_clicks"), Input(ids.OFFER, "n_clicks")],
        },
        state={
            "setting_ids": State(ANY_SETTING, "id"),
            "sample_ids": State(ANY_SAMPLE_SETTING, "id"),
            "locked": State(shared_ids.ADDRESS_LOCKED, "data"),
        },
        prevent_initial_call=True,
    )
    def fill(
        slug: str | None,
        branch: Branch | None,
        presses: list[int | None],
        setting_ids: list[shared_ids.ComponentId],
        sample_ids: list[shared_ids.ComponentId],
        locked: list[str] | None,
    ) -> dict[str, Any]:
        """A recipe was chosen, its changes undone, or a branch begun: controls get values."""
        if ctx.triggered_id == ids.OFFER and "recipe" in (locked or []):
            raise PreventUpdate
        recipe = recipe_named("quick_start" if ctx.triggered_id == ids.OFFER else slug)
        setup = recipe.setup
        if ctx.triggered_id == ids.BRANCH:
            if not branch:
                raise PreventUpdate
            try:
                manifest = lab.runs.open(branch["run"]).manifest
            except RunNotFoundError:  # it was deleted meanwhile
                raise PreventUpdate from None
            recipe, setup = recipe_named(manifest["recipe"]), setup_from(manifest["setup"])
        return {
            "settings": _written(setting_ids, setup, locked or []),
            "samples": _written(sample_ids, setup),
            "summary": recipe.summary,
            "recipe": no_update
            if slug == recipe.slug
            else form.unless_locked("recipe", recipe.slug, locked),
        }


def _written(
    controls: Sequence[shared_ids.ComponentId], setup: Setup, locked: Sequence[str] = ()
) -> list[object]:
    """What stands in each of these controls for a setup; those that are locked stay."""
    values = setup.values()
    return [
        form.unless_locked(key, form.written(SETTINGS[key], values[key]), locked)
        if key in SETTINGS
        else no_update
        for key in map(shared_ids.key_of, controls)
    ]


def _register_checking(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "plan": Output(ids.PLAN, "data"),
            "address": Output(shared_ids.ADDRESS_FORM, "data"),
            "modified": Output(ids.MODIFIED, "children"),
            "undo_hidden": Output(ids.UNDO, "hidden"),
            "note": Output(ids.CORPUS_NOTE, "children"),
            "problems": Output(ANY_PROBLEM, "children"),
            "differs": Output(ids.DIFFERS, "children"),
            "unused": Output(ids.UNUSED, "data"),
        },
        inputs={"values": Input(ANY_SETTING, "value")},
        state={
            "control_ids": State(ANY_SETTING, "id"),
            "problem_ids": State(ANY_PROBLEM, "id"),
            "slug": State(ids.RECIPE, "value"),
        },
    )
    def check(
        values: list[form.Value],
        control_ids: list[shared_ids.ComponentId],
        problem_ids: list[shared_ids.ComponentId],
        slug: str | None,
    ) -> dict[str, Any]:
        """A control changed: check everything, mark what is wrong, say what would be made."""
        recipe = recipe_named(slug)
        setup, problems = read(lab, Controls(values, control_ids, recipe))
        valid = setup if not problems else None
        return {
            "plan": plan(lab, valid) if valid else None,
            "address": form.in_address(valid, recipe) if valid else no_update,
            **_changes(setup, recipe),
            "note": _download_note(lab, valid.data.corpus) if valid else "",
            "problems": [problems.get(shared_ids.key_of(where), "") for where in problem_ids],
            "differs": _differs(setup) if setup else no_update,
            "unused": _unused(
                dict(zip(map(shared_ids.key_of, control_ids), values, strict=True)), problems
            ),
        }


def _unused(values: Mapping[str, form.Value], problems: Mapping[str, str]) -> list[str]:
    """The settings that have no effect beside the others; those that are wrong stay in sight."""
    return [key for key in values if key not in problems and not sections.applies(key, values)]


def _changes(setup: Setup | None, recipe: Recipe) -> dict[str, Any]:
    """How many settings differ from the recipe, and whether there is something to undo."""
    if setup is None:
        return {"modified": "modified · ", "undo_hidden": False}
    count = len(changed_settings(setup, recipe))
    return {"modified": f"modified ({count}) · " if count else "", "undo_hidden": not count}


def _download_note(lab: Lab, corpus: str) -> str:
    """What Start does about a text that is not on this computer; empty when it is."""
    missing = lab.texts.missing(corpus)
    if not missing:
        return ""
    return (
        f"{missing} Start Training tries to download it ({SIZES[corpus]}); "
        f"without a connection {TITLES[lab.texts.at_hand(corpus)]} is used instead."
    )


def _register_sections(app: Dash) -> None:
    """Show the advanced settings that have an effect, or those that are searched for.

    The script does it by itself: each property of each setting that a callback names costs the
    browser time at every change of any of them.
    """
    app.clientside_callback(
        ClientsideFunction("settings", "show"),
        Output(ids.SETTINGS_FOUND, "children"),
        Input(ids.UNUSED, "data"),
        Input(ids.SETTINGS_SEARCH, "value"),
    )


def _differs(setup: Setup) -> Component | str:
    """In which settings that have an effect this is not the tutorial's first model."""
    values = setup.values()
    found = [each for each in differences(setup) if sections.applies(each[0].key, values)]
    if not found:
        return "The tutorial's first model, with nothing changed."
    named = ", ".join(setting.label for setting, *_ in found[:MOST_NAMED])
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    listed = [
        f"{setting.label}: {words.value(own, setting)}, not {words.value(taught, setting)}"
        for setting, own, taught in found
    ]
    return html.Details(
        [
            html.Summary(f"Differs from the tutorial in {named}{more}"),
            html.Ul([html.Li(each) for each in listed]),
        ]
    )

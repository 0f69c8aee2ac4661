"""The Learn tab: which lesson is open, and what its checks find on the learner's own run.

Its layout is in `ui/learn/layout.py`, a lesson as it is shown in `ui/learn/page.py`.
"""

from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, no_update
from flask import current_app

from transformer_lab.lab.lab import Lab
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui import languages, polling
from transformer_lab.ui.learn import ids, page
from transformer_lab.ui.learn.layout import layout
from transformer_lab.ui.learn.lessons import Lesson, load_lessons
from transformer_lab.ui.train import ids as train_ids
from transformer_lab.ui.train.plan import FormPlan, planned

__all__ = ["TITLE", "layout", "register"]

TITLE = "Learn"
ANY_LESSON = {"type": "lesson-button", "lesson": ALL}
ANY_CHECK = {"type": "lesson-check", "name": ALL}
ANY_MAKER = {"type": "lesson-maker", "name": ALL}
ANY_COST = {"type": "lesson-cost", "lines": ALL}


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this tab."""
    _register_choice(app)
    _register_page(app)
    _register_checks(app, lab)


def _register_choice(app: Dash) -> None:
    app.clientside_callback(
        ClientsideFunction("learn", "go"),
        Output(ids.LESSON, "data"),
        Input(ANY_LESSON, "n_clicks"),
        Input(ids.LESSON_BACK, "n_clicks"),
        Input(ids.LESSON_NEXT, "n_clicks"),
        State(ANY_LESSON, "id"),
        State(ids.LESSON, "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("learn", "pace"),
        Output(ids.LESSON_TICK, "interval"),
        Input(shared_ids.TABS, "active_tab"),
    )


def opened(data: object, lessons: dict[str, Lesson]) -> tuple[Lesson, set[str]]:
    """The lesson that is open, and the slugs of those that were read."""
    data = data if isinstance(data, dict) else {}
    at, read = data.get("at"), data.get("read")
    known = {one for one in read if isinstance(one, str)} if isinstance(read, list) else set()
    first = next(iter(lessons.values()))
    return lessons.get(at, first) if isinstance(at, str) else first, known & lessons.keys()


def _register_page(app: Dash) -> None:
    every = {one: load_lessons(one) for one in (languages.ENGLISH, *languages.languages())}

    @app.callback(
        output={
            "head": Output(ids.LESSON_HEAD, "children"),
            "body": Output(ids.LESSON_BODY, "children"),
            "progress": Output(ids.LESSON_PROGRESS, "children"),
            "back_disabled": Output(ids.LESSON_BACK, "disabled"),
            "next_disabled": Output(ids.LESSON_NEXT, "disabled"),
            "titles": Output(ANY_LESSON, "children"),
            "classes": Output(ANY_LESSON, "className"),
            "current": Output(ANY_LESSON, "aria-current"),
            "seen": Output(ids.LESSON_SEEN, "data"),
        },
        inputs={"data": Input(ids.LESSON, "data")},
        state={"language": State(shared_ids.LANGUAGE, "data")},
    )
    def show(data: object, language: object) -> dict[str, Any]:
        """Another lesson: its text, and where one is in the list."""
        spoken = languages.known(language)
        lesson, read = opened(data, every[spoken])
        places = list(every[spoken])
        listed = [str(item["id"]["lesson"]) for item in ctx.outputs_grouping["classes"]]
        numbered = [slug for slug, one in every[spoken].items() if one.number]
        done = sum(slug in read for slug in numbered)
        words = "{done} of {count} read"
        body = page.body(lesson, list(current_app.config["TABS"]))
        return {
            "head": page.head(lesson, spoken),
            "body": languages.put(body, spoken),
            "progress": languages.say(spoken, words, done=done, count=len(numbered)),
            "back_disabled": lesson.slug == places[0],
            "next_disabled": lesson.slug == places[-1],
            "titles": [every[spoken][slug].title for slug in listed],
            "classes": ["lesson-entry read" if one in read else "lesson-entry" for one in listed],
            "current": ["page" if slug == lesson.slug else "false" for slug in listed],
            "seen": {},
        }


def _register_checks(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "said": Output(ANY_CHECK, "children"),
            "makers_hidden": Output(ANY_MAKER, "hidden"),
            "costs": Output(ANY_COST, "children"),
            "seen": Output(ids.LESSON_SEEN, "data", allow_duplicate=True),
        },
        inputs={
            "tick": Input(ids.LESSON_TICK, "n_intervals"),
            "head": Input(ids.LESSON_HEAD, "children"),
        },
        state={
            "names": State(ANY_CHECK, "id"),
            "buttons": State(ANY_COST, "id"),
            "plan": State(train_ids.PLAN, "data"),
            "seen": State(ids.LESSON_SEEN, "data"),
            "language": State(shared_ids.LANGUAGE, "data"),
        },
        prevent_initial_call=True,
    )
    def look(
        tick: int | None,
        head: object,
        names: list[shared_ids.ComponentId],
        buttons: list[shared_ids.ComponentId],
        plan: FormPlan | None,
        seen: object,
        language: object,
    ) -> dict[str, Any]:
        """Look at the learner's run again; send only what changed."""
        spoken = languages.known(language)
        found = {item["name"]: page.found(lab, item["name"], spoken) for item in names}
        said = {f"check {name}": words for name, (words, _) in found.items()}
        form = planned(plan)
        for lines in [str(item["lines"]) for item in buttons]:
            said[f"cost {lines}"] = page.cost_of(lab, lines, form, spoken)
        known = seen if isinstance(seen, dict) and ctx.triggered_id == ids.LESSON_TICK else {}
        fresh, digests = polling.changed(said, known)
        sent = [*fresh.values()]
        return {
            "said": sent[: len(names)],
            "makers_hidden": [there for _, there in found.values()],
            "costs": sent[len(names) :],
            "seen": no_update if digests == known else digests,
        }

"""How the Learn tab is laid out: the list of lessons, and the one that is open.

While another tab is open the lesson can stand beside it (`assets/learn.css`).
"""

from typing import Any

from dash import dcc, html

from transformer_lab.lab.lab import Lab
from transformer_lab.ui.learn import ids
from transformer_lab.ui.learn.lessons import Lesson, load_lessons

SLOW = 2000  # milliseconds between two looks at the learner's run
RESTING = 3_600_000


def layout(lab: Lab) -> html.Div:
    """The list on the left, the lesson on the right."""
    return html.Div(
        [
            dcc.Store(id=ids.LESSON, storage_type="local"),
            dcc.Store(id=ids.LESSON_SEEN, data={}),
            dcc.Interval(id=ids.LESSON_TICK, interval=SLOW),
            _list(),
            html.Article(
                [_head(), html.Div(id=ids.LESSON_BODY), _foot()],
                className="card lesson",
                tabIndex=-1,
            ),
        ],
        className="pane learn",
        id="learn",
    )


def _list() -> html.Nav:
    lessons = load_lessons()
    numbered = [lesson for lesson in lessons.values() if lesson.number]
    others = [lesson for lesson in lessons.values() if not lesson.number]
    return html.Nav(
        [
            html.Div(
                [
                    html.H2("Lessons"),
                    html.Span(id=ids.LESSON_PROGRESS, className="quiet", role="status"),
                ],
                className="card-head",
            ),
            html.Ol([html.Li(_entry(lesson)) for lesson in numbered]),
            html.H2("At hand"),
            html.Ul([html.Li(_entry(lesson)) for lesson in others]),
            html.Button(
                "Show the tour again",
                id="tour-again",
                className="link",
                title="The first steps, shown on the page itself",
            ),
        ],
        className="card lesson-nav",
        **{"aria-label": "Lessons"},
    )


def _head() -> html.Header:
    whole = "Open the lesson in the Learn tab"
    close = "Close the lesson here; it stays on the Learn tab"
    return html.Header(
        [
            html.Div(id=ids.LESSON_HEAD, className="lesson-title"),
            html.Div(
                [
                    html.Button("Whole page", id="lesson-whole", className="link", title=whole),
                    html.Button("Close", id="lesson-close", className="link", title=close),
                ],
                className="beside-only",
            ),
        ],
        className="lesson-head",
    )


def _foot() -> html.Footer:
    return html.Footer(
        [
            html.Button(
                "Previous",
                id=ids.LESSON_BACK,
                className="btn btn-outline-secondary btn-sm",
                title="The lesson before; so does the left arrow",
            ),
            html.Button(
                "Done, next",
                id=ids.LESSON_NEXT,
                className="btn btn-primary btn-sm",
                title="Mark this lesson as read and open the next; so does the right arrow",
            ),
        ],
        className="lesson-foot",
    )


def _entry(lesson: Lesson) -> Any:
    return html.Button(
        lesson.title,
        id=ids.lesson_button(lesson.slug),
        className="lesson-entry",
        title=f"{lesson.minutes} minutes",
    )

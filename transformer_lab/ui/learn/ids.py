"""Names of the parts of the Learn tab that callbacks speak of."""

LESSON = "lesson"  # {"at": slug, "read": [slugs]}, kept by the browser
LESSON_BODY = "lesson-body"
LESSON_HEAD = "lesson-head"
LESSON_BACK = "lesson-back"
LESSON_NEXT = "lesson-next"
LESSON_PROGRESS = "lesson-progress"
LESSON_SEARCH = "lesson-search"
LESSON_TICK = "lesson-tick"
LESSON_SEEN = "lesson-seen"


def lesson_button(lesson: str) -> dict[str, str]:
    """The entry of one lesson in the list."""
    return {"type": "lesson-button", "lesson": lesson}


def lesson_check(name: str) -> dict[str, str]:
    """Where a check of the learner's own run is shown."""
    return {"type": "lesson-check", "name": name}


def lesson_maker(name: str) -> dict[str, str]:
    """The button that makes what a check is missing."""
    return {"type": "lesson-maker", "name": name}


def lesson_cost(lines: str) -> dict[str, str]:
    """What pressing a lesson's button costs; `lines` are those of the button."""
    return {"type": "lesson-cost", "lines": lines}

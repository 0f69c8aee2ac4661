"""What the buttons of lessons do: each action as steps that the page takes on its real controls.

`assets/learn.js` takes the steps: open a tab, set a property of a component, press a button, or
show an element. After each it waits until the server has answered.
"""

from collections.abc import Callable

from transformer_lab.experiments.catalogue import EXPERIMENTS
from transformer_lab.experiments.questions import load_questions
from transformer_lab.inspection.planted import LEAKS
from transformer_lab.recipes import SETTINGS, Setup, load_recipes
from transformer_lab.settings import checked
from transformer_lab.ui import form
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.compare import ids as compare_ids
from transformer_lab.ui.data import ids as data_ids
from transformer_lab.ui.experiments import ids as experiments_ids
from transformer_lab.ui.generate import ids as generate_ids
from transformer_lab.ui.learn import ids
from transformer_lab.ui.learn.lessons import LessonError
from transformer_lab.ui.look import ids as look_ids
from transformer_lab.ui.runs import ids as runs_ids
from transformer_lab.ui.steps import Step, open_tab, press, set_to, show
from transformer_lab.ui.train import ids as train_ids

TRAIN, RUNS, DATA, GENERATE, LOOK = "Train", "Runs", "Data", "Generate", "Look inside"
COMPARE, PCN = "Compare", "PCN Experiments"
RATE_TOOL = compare_ids.compare_tool(compare_ids.RATE_TOOL)
BUTTONS = {  # what may be pressed: the tab it is on, its id, and where to look then
    "Initialize Model": (TRAIN, train_ids.INITIALIZE, ""),
    "Start Training": (TRAIN, train_ids.START, ""),
    "Pause": (TRAIN, train_ids.PAUSE, ""),
    "Stop": (TRAIN, train_ids.STOP, ""),
    "Apply Learning Rate": (TRAIN, train_ids.APPLY_RATE, ""),
    "Compare": (TRAIN, train_ids.AFTER_COMPARE, ""),
    "Find a learning rate": (COMPARE, RATE_TOOL, compare_ids.RATE_ABOUT),
    "Generate": (GENERATE, generate_ids.GENERATE, generate_ids.GENERATE_CAPTION),
    "Next stage": (LOOK, look_ids.STAGE_NEXT, look_ids.STAGE_TITLE),
    "Plant it and audit": (PCN, experiments_ids.PLANT_START, experiments_ids.PLANT_CAPTION),
}
TRAINS = "press Start Training"  # the line of a button that costs time


def _recipe(slug: str) -> list[Step]:
    if slug not in load_recipes():
        raise LessonError(f"There is no recipe {slug}.")
    return [open_tab(TRAIN), set_to(train_ids.RECIPE, slug)]


def _setting(words: str) -> list[Step]:
    key, _, value = words.partition(" ")
    if key not in SETTINGS:
        raise LessonError(f"There is no setting {key}.")
    setting = SETTINGS[key]
    shown = form.written(setting, checked(setting, value))
    group, name = setting.group, setting.name
    component = (
        shared_ids.sample_setting(name) if group == "sample" else shared_ids.setting(group, name)
    )
    return [open_tab(GENERATE if group == "sample" else TRAIN), set_to(component, shown)]


def _button(words: str) -> list[Step]:
    if words not in BUTTONS:
        raise LessonError(f"There is no button {words} that a lesson may press.")
    tab, component, result = BUTTONS[words]
    return [open_tab(tab), press(component), *([show(result)] if result else [])]


def _open(words: str) -> list[Step]:
    tab, _, sub_tab = words.partition(" / ")
    steps = [open_tab(tab)]
    return [*steps, set_to(look_ids.LOOK_TABS, sub_tab, "active_tab")] if sub_tab else steps


def _head(words: str) -> list[Step]:
    layer, _, head = words.partition(" ")
    return [
        *_open(f"{LOOK} / Attention"),
        set_to(look_ids.LAYER, str(int(layer) - 1)),
        set_to(look_ids.HEAD, str(int(head) - 1)),
        show(look_ids.HEAD_CHART),
    ]


def _text(words: str) -> list[Step]:
    return [open_tab(LOOK), set_to(look_ids.LOOK_TEXT, words)]


def _sentence(words: str) -> list[Step]:
    return [open_tab(DATA), set_to(data_ids.SENTENCE, words)]


def _tokenizer(words: str) -> list[Step]:
    checked(SETTINGS["data.tokenizer"], words)
    return [open_tab(DATA), set_to(data_ids.TEXT_TOKENIZER, words)]


def _experiment(key: str) -> list[Step]:
    if key not in EXPERIMENTS:
        raise LessonError(f"There is no experiment {key}.")
    return [
        open_tab(PCN),
        press(experiments_ids.experiment_button(key)),
        show(experiments_ids.EXPERIMENT_TITLE),
    ]


def _question(slug: str) -> list[Step]:
    if slug not in load_questions():
        raise LessonError(f"There is no question {slug}.")
    return [
        open_tab(COMPARE),
        press(compare_ids.compare_button(slug)),
        show(compare_ids.COMPARE_TITLE),
    ]


def _plant(kind: str) -> list[Step]:
    if kind not in LEAKS:
        raise LessonError(f"There is no leak {kind} to plant.")
    return [
        open_tab(PCN),
        set_to(experiments_ids.PLANT_KIND, kind),
        show(experiments_ids.PLANT_START),
    ]


PLACES = {
    "upload": (DATA, "drop"),
    "audit": (PCN, experiments_ids.AUDIT_START),
    "status": (TRAIN, train_ids.PANEL),
    "queue": (RUNS, runs_ids.AT_ONCE),
    "rate chart": (TRAIN, train_ids.RATE),
    "overlay": (RUNS, runs_ids.OVERLAY_CARD),
    "summary": (PCN, experiments_ids.SUMMARY_OPEN),
}


def _look_at(words: str) -> list[Step]:
    if words not in PLACES:
        raise LessonError(f"There is no place {words} that a lesson may show.")
    tab, component = PLACES[words]
    return [open_tab(tab), show(component)]


def _lesson(slug: str) -> list[Step]:
    return [press(ids.lesson_button(slug))]


ACTIONS: dict[str, Callable[[str], list[Step]]] = {
    "recipe": _recipe,
    "set": _setting,
    "press": _button,
    "open": _open,
    "head": _head,
    "text": _text,
    "sentence": _sentence,
    "tokenizer": _tokenizer,
    "experiment": _experiment,
    "plant": _plant,
    "question": _question,
    "show": _look_at,
    "lesson": _lesson,
}


def settings_of(lines: str) -> Setup | None:
    """The setup that a button's lines make; None where it leaves the form's as it is."""
    pairs = [line.split(" ", 1) for line in lines.strip().splitlines()]
    recipe = next((words for verb, words in pairs if verb == "recipe"), None)
    if recipe is None:
        return None
    changes = dict(words.split(" ", 1) for verb, words in pairs if verb == "set")
    values = {key: checked(SETTINGS[key], value) for key, value in changes.items()}
    return load_recipes()[recipe].setup.with_values(values)


def steps(lines: str) -> list[Step]:
    """The steps of a button's lines. Raises LessonError, and ConfigError for a wrong value."""
    found: list[Step] = []
    for line in lines.strip().splitlines():
        verb, _, words = line.partition(" ")
        if verb not in ACTIONS:
            raise LessonError(f"{line}: {verb} is none of {', '.join(ACTIONS)}.")
        for step in ACTIONS[verb](words):
            if step != {"tab": _where(found)}:
                found.append(step)
    if not found:
        raise LessonError("A button of a lesson does nothing.")
    return found


def _where(found: list[Step]) -> str:
    """The tab that is open after these steps."""
    return next((step["tab"] for step in reversed(found) if "tab" in step), "")

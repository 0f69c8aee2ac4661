"""Checks of Troubleshooting for what users of such tools report beside the tutorial's entries.

Each looks at the lab as it is now.
"""

from itertools import islice
from typing import Any

from transformer_lab.lab.device import available_cores, gpu_count
from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import SETTINGS, load_recipes
from transformer_lab.runs.run import DamagedRunError, RunNotFoundError
from transformer_lab.settings import plain
from transformer_lab.training.finetune import FULL_RATE, LORA_RATE
from transformer_lab.ui import words
from transformer_lab.ui.learn.checks import Check, NothingYetError, own, setup_of

LOOKED_AT = 8  # runs whose settings are read
SHOWN = 3  # settings that are named


def coached(lab: Lab) -> Any:
    """What the coach says of the newest run, with its numbers."""
    view = own(lab)
    advice = lab.runs.advice(view)
    if advice is None:
        return f"The coach finds nothing wrong with {view.run_id} at step {view.step:,}."
    return f"The coach on {view.run_id}: {advice.title} {advice.evidence}"


def overfitted(lab: Lab) -> Any:
    """The lowest validation loss of the newest run beside its newest."""
    view = own(lab)
    points, _ = lab.runs.since(view.run_id)
    seen = [(p.validation_loss, p.step) for p in points if p.validation_loss is not None]
    if len(seen) < 2:
        return f"{view.run_id} was judged {len(seen)} times on validation text, which is too few."
    (best, step), (now, last) = min(seen), seen[-1]
    verdict = (
        "that is the lowest so far, so it does not overfit"
        if now <= best
        else f"{now - best:.2f} above its lowest, {best:.2f} at step {step:,}; to rise further "
        "while the training loss falls is overfitting"
    )
    return f"{view.run_id}: validation loss {now:.2f} at step {last:,}, {verdict}."


def judged(lab: Lab) -> Any:
    """What text the newest run is judged on."""
    view = own(lab)
    try:
        count = lab.runs.open(view.run_id).manifest["corpus"].get("validation_tokens")
    except (DamagedRunError, RunNotFoundError):
        raise NothingYetError(f"{view.run_id} cannot be read.") from None
    share = setup_of(view).data.validation_share
    known = f" ({count:,} tokens)" if count else ""
    return (
        f"{view.run_id} is judged on the last {share:.0%} of {view.corpus}{known}, from which it "
        "never learns."
    )


def tuned(lab: Lab) -> Any:
    """The size of the newest run beside that for which its recipe was tuned."""
    view = own(lab)
    summary = next((run for run in lab.runs.all() if run.id == view.run_id), None)
    recipe = load_recipes().get(summary.recipe if summary else "")
    if recipe is None:
        return f"{view.run_id} has {view.parameters:,} parameters and follows no recipe."
    mine, theirs = setup_of(view).model, recipe.setup.model
    same = (mine.layers, mine.embedding_dim) == (theirs.layers, theirs.embedding_dim)
    verdict = "the size" if same else f"not the {theirs.layers} of width {theirs.embedding_dim}"
    return (
        f"{view.run_id}: {mine.layers} layers of width {mine.embedding_dim}, {verdict} that the "
        f"rate of {recipe.title} was chosen for; learning rate "
        f"{plain(setup_of(view).train.learning_rate)}."
    )


def tuned_further(lab: Lab) -> Any:
    """How the newest fine-tuning was done."""
    summary = next((run for run in lab.runs.all() if run.base and run.state != "damaged"), None)
    if summary is None:
        return "You have fine-tuned nothing yet."
    try:
        run = lab.runs.open(summary.id)
        chosen = (run.manifest.get("finetune") or {}).get("settings", {}).get("finetune", {})
        rate = run.manifest["setup"]["train"]["learning_rate"]
    except (DamagedRunError, RunNotFoundError):
        return f"{summary.id} cannot be read."
    method = chosen.get("method", "full")
    usual = LORA_RATE if method == "lora" else FULL_RATE
    return (
        f"{summary.id}, from {summary.base}: method {method}, learning rate {plain(rate)}; the "
        f"lab begins with {plain(usual)} for it."
    )


def openable(lab: Lab) -> Any:
    """Which models can be looked into."""
    own(lab)
    names = [name for name in lab.models.writers() if name != "latest"]
    tuned_ones = sum(bool(run.base) for run in lab.runs.all() if run.id in names)
    return (
        f"{len(names)} of your runs have weights that Look inside can open, {tuned_ones} of them "
        f"fine-tuned. The newest is {own(lab).run_id}."
    )


def varied(lab: Lab) -> Any:
    """In which settings the newest runs differ."""
    own(lab)
    setups = []
    for run in islice((run for run in lab.runs.all() if run.step), LOOKED_AT):
        try:
            setups.append(setup_of(lab.runs.view(run.id)).values())
        except RunNotFoundError:
            continue
    newest = own(lab).run_id
    if len(setups) < 2:
        return f"{newest} is your only run so far: there is nothing to compare it with."
    differ = [
        f"{SETTINGS[key].label} ({len({str(one[key]) for one in setups})} values)"
        for key in setups[0]
        if not key.startswith("sample.") and len({str(one[key]) for one in setups}) > 1
    ]
    more = f" and {len(differ) - SHOWN} more" if len(differ) > SHOWN else ""
    said = ", ".join(differ[:SHOWN]) + more if differ else "no setting"
    return f"Your newest {len(setups)} runs differ in {said}. The newest is {newest}."


def waiting(lab: Lab) -> Any:
    """What waits in the queue, and whether anything is stuck."""
    items = lab.trainings.queue.list()
    stuck = [item for item in items if item.problem]
    said = f"{len(items)} trainings wait" if items else "Nothing waits"
    held = ", held until you press Run the queue" * bool(items and lab.trainings.queue.held)
    problem = f"; {len(stuck)} could not start: {stuck[0].problem}" if stuck else ""
    return f"{said} in the queue{held}{problem}."


def kept(lab: Lab) -> Any:
    """How many runs there are, and what they hold."""
    runs = lab.runs.all()
    damaged = sum(run.state == "damaged" for run in runs)
    steps = sum(run.step for run in runs)
    return (
        f"Runs here: {len(runs)}, damaged: {damaged}, with {steps:,} steps in all. Export a run "
        "before you delete it, and it can come back."
    )


def devices(lab: Lab) -> Any:
    """The GPUs and cores of this computer."""
    count = gpu_count()
    return (
        f"This computer has {count} GPU{'s' * (count != 1)} and {available_cores()} CPU "
        f"cores; {lab.trainings.queue.at_once} of the trainings started here may run at once."
    )


def ended(lab: Lab) -> Any:
    """How the newest run ended, or how long it will take."""
    view = own(lab)
    left = f", {words.clock(view.remaining)} left" if view.remaining else ""
    why = f": {view.reason}" if view.reason else ""
    state = words.STATES[view.state] if view.state else "not begun"
    return f"{view.run_id}: {state} at step {view.step:,} of {view.steps:,}{left}{why}"


REPORTED: dict[str, Check] = {
    "coached": coached,
    "overfitted": overfitted,
    "judged": judged,
    "tuned": tuned,
    "tuned_further": tuned_further,
    "openable": openable,
    "varied": varied,
    "waiting": waiting,
    "kept": kept,
    "devices": devices,
    "ended": ended,
}

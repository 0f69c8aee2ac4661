"""Checks on the learner's own run: what stands there is measured on it when it is asked for.

A check is one function of the lab and one line in CHECKS. Without a run it raises NothingYetError,
and the page offers to make one, with its cost.
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from dash import html

from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.looking.scores import line_scores, next_at_temperatures
from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.lab.training.views import View
from transformer_lab.recipes import SETTINGS, Setup
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.ui import words
from transformer_lab.ui.charts.training import MILESTONES
from transformer_lab.ui.languages import Told, told

LINE = "To be, or not to be"
TEMPERATURES = (0.5, 0.8, 1.0, 1.5)
EXCERPT = 160  # characters of what a run writes
MEANINGS = {
    3.0: "basic patterns: spaces, common letters",
    2.0: "readable text",
    1.5: "high quality for so small a model",
    1.0: "perhaps overfitting: compare with text it has not seen",
}


class NothingYetError(Exception):
    """The learner has nothing yet that this check could look at."""


Check = Callable[[Lab], Any]


def own(lab: Lab) -> View:
    """The learner's newest run that has learned anything. Raises NothingYetError."""
    for run_id in [None, *[run.id for run in lab.runs.all() if run.step]]:
        with contextlib.suppress(RunNotFoundError):  # damaged, or deleted just now
            view = lab.runs.view(run_id)
            if view.step and view.setup:
                return view
    raise NothingYetError("You have no trained model yet.")


def model_of(lab: Lab) -> Snapshot:
    """The weights of that run. Raises NothingYetError."""
    view = own(lab)
    try:
        return lab.models.snapshot(view.run_id)
    except (LabError, RunNotFoundError):
        raise NothingYetError(f"{view.run_id} has no saved weights yet.") from None


def setup_of(view: View) -> Setup:
    """The settings of a run."""
    return view.setup or Setup()


def loss_of(lab: Lab, view: View) -> tuple[float, str]:
    """A run's newest loss and which one it is: that of the validation text, else of its batch."""
    if view.validation_loss is not None:
        return view.validation_loss, "validation loss"
    points, _ = lab.runs.since(view.run_id, max(0, view.step - 1))
    if not points:
        raise NothingYetError(f"{view.run_id} has not taken a step yet.")
    return points[-1].train_loss, "training loss"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> html.Table:
    """Numbers in rows under their names."""
    return html.Table(
        [
            html.Thead(html.Tr([html.Th(head) for head in heads])),
            html.Tbody([html.Tr([html.Td(cell) for cell in row]) for row in rows]),
        ],
        className="numbers",
    )


def quoted(piece: str) -> str:
    """A token with marks around it, so that a space is seen."""
    return f"“{piece}”".replace("\n", "⏎")


def model(lab: Lab) -> Any:
    """Whether there is a model to look at."""
    view = own(lab)
    return f"Your model {view.run_id} has learned for {view.step:,} steps. This lesson uses it."


def first(lab: Lab) -> Any:
    """How far the run with the tutorial's recipe is, or the newest."""
    mine = next(
        (run for run in lab.runs.all() if run.recipe == "tiny_shakespeare" and run.step), None
    )
    if mine is None:
        view = own(lab)
        return (
            f"No run of Tiny Shakespeare yet. Your newest is {view.run_id}, at step "
            f"{view.step:,} of {view.steps:,}: what follows works with it too."
        )
    loss = "" if mine.validation_loss is None else f", validation loss {mine.validation_loss:.2f}"
    return f"{mine.id}: {mine.state}, step {mine.step:,} of {mine.steps:,}{loss}."


def reading(lab: Lab) -> Any:
    """The loss in words, and what the model writes at it."""
    view = own(lab)
    loss, which = loss_of(lab, view)
    below = [limit for limit in MILESTONES if loss < limit]
    meaning: Told | str = "3.0 or more: noise"
    if below:
        meaning = told("below {limit}, {words}", limit=min(below), words=MEANINGS[min(below)])
    if setup_of(view).data.tokenizer != "characters":
        meaning = "the milestones are for characters, and this run uses other tokens"
    said = told(
        "Your {which} is {loss} after {steps} steps of {run} ({meaning}).",
        which=which,
        loss=f"{loss:.2f}",
        steps=f"{view.step:,}",
        run=view.run_id,
        meaning=meaning,
    )
    if view.sample is None:
        return told("{said} It has written nothing yet.", said=said)
    wrote = told("{said} Read what it wrote after step {step}:", said=said, step=view.sample.step)
    if view.sample.step == 0:
        wrote = told("{said} What it wrote before it had learned anything:", said=said)
    text = (view.sample.prompt + view.sample.text)[:EXCERPT]
    return [wrote, html.Pre(text, className="lesson-sample")]


def perplexity(lab: Lab) -> Any:
    """Loss, perplexity, and the guess of a model that knows nothing."""
    view = own(lab)
    loss, which = loss_of(lab, view)
    size = view.vocabulary_size
    return (
        f"{view.run_id}: {which} {loss:.3f}, so perplexity e^{loss:.3f} = {math.exp(loss):.2f}. It "
        f"is as unsure as if it chose evenly between {math.exp(loss):.1f} tokens instead of "
        f"{size}; "
        f"knowing nothing would cost ln {size} = {math.log(max(size, 1)):.3f}."
    )


def line(lab: Lab) -> Any:
    """The loss of one line, token by token."""
    snapshot = model_of(lab)
    scored = line_scores(snapshot, LINE)
    if not scored:
        return f"Your model knows too few characters of “{LINE}”."
    losses = [-math.log(max(one.probability, 1e-30)) for one in scored]
    mean = sum(losses) / len(losses)
    rows = [
        [quoted(one.piece), f"{one.probability:.1%}", f"{loss:.2f}"]
        for one, loss in zip(scored, losses, strict=True)
    ]
    said = (
        f"“{LINE}” under {snapshot.run_id} after step {snapshot.step:,}: the sum of "
        f"{len(losses)} losses is {sum(losses):.2f}, the mean {mean:.2f}, the perplexity "
        f"{math.exp(mean):.2f}."
    )
    return [
        said,
        html.Div(table(["next", "probability", "loss"], rows), className="table-box", tabIndex=0),
    ]


def milestones(lab: Lab) -> Any:
    """Where the run first fell below each of the tutorial's milestones."""
    view = own(lab)
    points, _ = lab.runs.since(view.run_id)
    found = [(p.step, p.validation_loss) for p in points if p.validation_loss is not None]
    rows = []
    for limit in MILESTONES:
        step = next((step for step, loss in found if loss < limit), None)
        reached = "not yet" if step is None else f"seen at step {step:,}"
        rows.append([f"below {limit:.1f}", MEANINGS[limit], reached])
    said = f"{view.run_id}, by its validation loss ({len(found)} looks so far):"
    return [said, table(["loss", "means", "your run"], rows)]


def schedule(lab: Lab) -> Any:
    """The phases of the run's own schedule, in steps."""
    view = own(lab)
    train = setup_of(view).train
    phases = [
        f"{phase.name} from step {phase.first:,} to {phase.last:,}" for phase in train.phases()
    ]
    chosen = SETTINGS["train.schedule"].choices or {}
    rate = "" if view.learning_rate is None else f" It is now at {view.learning_rate:.3g}."
    return (
        f"{view.run_id} follows “{chosen.get(train.schedule, train.schedule)}” with a peak of "
        f"{train.learning_rate:g}: {'; '.join(phases)}.{rate}"
    )


def shape(lab: Lab) -> Any:
    """Layers, heads and parameters of the run's model."""
    view = own(lab)
    m = setup_of(view).model
    parts = "; ".join(f"{name} {count:,}" for name, count in view.breakdown.items())
    return (
        f"{view.run_id}: {m.layers} layers, each with {m.heads} heads of "
        f"{m.embedding_dim // m.heads} numbers (together {m.embedding_dim}); positions: "
        f"{m.positions.replace('_', ' ')}; {view.parameters:,} parameters ({parts})."
    )


def tokens(lab: Lab) -> Any:
    """What tokens the run reads."""
    view = own(lab)
    data = setup_of(view).data
    size, width = view.vocabulary_size, setup_of(view).model.embedding_dim
    bits = view.bits_per_byte
    comparable: Told | str = ""
    if bits is not None:
        comparable = told(" Its validation loss is {bits} bits per byte.", bits=f"{bits:.2f}")
    return told(
        "{run} learned from {text}. Tokenizer {tokenizer}: {size} different tokens, each with an "
        "embedding of {width} numbers, {all} in all.{comparable}",
        run=view.run_id,
        text=view.corpus,
        tokenizer=data.tokenizer,
        size=f"{size:,}",
        width=width,
        all=f"{size * width:,}",
        comparable=comparable,
    )


def temperature(lab: Lab) -> Any:
    """What the model would write next at several temperatures."""
    snapshot = model_of(lab)
    pieces, found = next_at_temperatures(snapshot, LINE, TEMPERATURES)
    rows = [
        [f"{heat:g}", *[f"{share:.1%}" for share in row]]
        for heat, row in zip(TEMPERATURES, found, strict=True)
    ]
    said = f"After “{LINE}”, {snapshot.run_id} after step {snapshot.step:,} would write next:"
    return [said, table(["temperature", *[quoted(piece) for piece in pieces]], rows)]


def _seen(lab: Lab, run_id: str) -> View | None:
    """A run, unless it is damaged or was deleted just now."""
    try:
        return lab.runs.view(run_id)
    except RunNotFoundError:
        return None


def compared(lab: Lab) -> Any:
    """The two newest runs: what differs, and how they ended."""
    views = (_seen(lab, run.id) for run in lab.runs.all() if run.step and not run.race)
    readable = list(islice((view for view in views if view), 2))
    if len(readable) < 2:
        have = own(lab).run_id
        raise NothingYetError(f"You have one run, {have}: a comparison needs two.")
    new, old = readable
    before, after = setup_of(old).values(), setup_of(new).values()
    changes = [
        f"{SETTINGS[key].label} {words.value(before[key], SETTINGS[key])} → "
        f"{words.value(value, SETTINGS[key])}"
        for key, value in after.items()
        if value != before[key] and not key.startswith("sample.")
    ]
    rows = [
        [
            view.run_id,
            f"{view.step:,}",
            f"{view.parameters:,}",
            "–" if view.validation_loss is None else f"{view.validation_loss:.3f}",
            "–" if view.bits_per_byte is None else f"{view.bits_per_byte:.3f}",
            words.clock(view.seconds),
        ]
        for view in (old, new)
    ]
    heads = ["run", "steps", "parameters", "validation loss", "bits per byte", "time"]
    many = " More than one setting differs, so nothing can be said of one alone." * (
        len(changes) > 1
    )
    return [
        f"Changed from {old.run_id} to {new.run_id}: {', '.join(changes) or 'no setting'}.{many}",
        html.Div(table(heads, rows), className="table-box", tabIndex=0),
        html.P("One run of each: a small difference may be chance.", className="quiet"),
    ]


def leak(lab: Lab) -> Any:
    """Whether the leak microscope has measured on this computer, without telling what."""
    trial = lab.trials.find("leak")
    if trial is None:
        return "The leak microscope has not measured since the lab was opened. It takes seconds."
    return f"Leak microscope: {trial.state}. Make your guess there, and the verdict is shown."


def audit(lab: Lab) -> Any:
    """What the leak audit said of the newest run."""
    view = own(lab)
    said = next((run.audit for run in lab.runs.all() if run.id == view.run_id), "")
    return f"Leak audit of {view.run_id}: {said or 'not made yet'}."


CHECKS: dict[str, Check] = {
    "model": model,
    "first": first,
    "reading": reading,
    "perplexity": perplexity,
    "line": line,
    "milestones": milestones,
    "schedule": schedule,
    "shape": shape,
    "tokens": tokens,
    "temperature": temperature,
    "compared": compared,
    "leak": leak,
    "audit": audit,
}

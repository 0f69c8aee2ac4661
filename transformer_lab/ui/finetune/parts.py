"""What the Fine-tune tab says of a base, of a training to come, and of one under way."""

import plotly.graph_objects as go
from dash import html

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.looking.adapters import Changed, changes_of
from transformer_lab.lab.training.finetuned import Cost
from transformer_lab.runs.checkpoint import CheckpointError
from transformer_lab.runs.events import BothLossesEvent, event_value
from transformer_lab.runs.run import Run, RunNotFoundError
from transformer_lab.text.tokenizers import name_of
from transformer_lab.text.unknown import Unknown
from transformer_lab.ui import words
from transformer_lab.ui.charts import finetune as charts
from transformer_lab.ui.charts.training import blank

NO_RUN = "Nothing has been fine-tuned yet: choose a base and a text, and press Start fine-tuning."
NOT_SAVED = "The change can be looked at once the run has been saved: at its end, or on Stop."


def unknown_words(pieces: list[str], unknown: Unknown) -> str:
    """Which characters of the new text the base does not know, and what becomes of them."""
    if not pieces:
        return ""
    named = ", ".join(name_of(piece) for piece in pieces[:8])
    more = f" and {len(pieces) - 8} more" if len(pieces) > 8 else ""
    then = {
        "refuse": "say under More what is to become of them, or choose another text.",
        "leave_out": "they are left out of the text.",
        "replace": f"{name_of(unknown.instead or ' ')} takes the place of each.",
        "extend": f"each gets a token of its own, {len(pieces):,} in all.",
    }
    return f"The base does not know {named}{more}: {then[unknown.way]}"


def added_words(cost: Cost) -> str:
    """What it costs that the embedding grows."""
    numbers = cost.rows * cost.width
    where = "embedding and head together" if cost.rows > cost.added else "the embedding"
    return (
        f"{cost.added:,} new tokens: {cost.rows:,} rows more in {where}, {numbers:,} numbers "
        f"({4 * numbers:,} bytes), which learn; the rows that are there begin as in the base"
    )


def cost_lines(cost: Cost) -> list[html.Div]:
    """What learns against all, and memory and time beforehand."""
    share = cost.trained / cost.parameters
    facts = [f"about {words.compact(cost.tokens)} tokens in the new text"]
    if cost.memory is not None and cost.free is not None:
        facts.append(f"about {words.size(cost.memory)} of {words.size(cost.free)} free memory")
    time = "time is being measured"
    if cost.seconds is not None:
        time = f"about {words.duration(cost.seconds)}"
    if cost.added:
        facts.append(added_words(cost))
    ratio = cost.trained / max(cost.tokens, 1)
    lines = [
        html.Div(
            [
                html.Span("Before you start: ", className="quiet"),
                html.Strong(f"{cost.trained:,} of {cost.parameters:,} numbers learn "),
                f"({share:.1%}), {time}",
            ]
        ),
        html.Div(
            html.Div(style={"width": f"{100 * share:.1f}%"}),
            className="progress-line",
            role="img",
            **{"aria-label": f"{share:.1%} of the numbers learn"},
        ),
        html.Div(" · ".join(facts), className="quiet"),
    ]
    if ratio > 1:
        lines.append(
            html.Div(
                f"{ratio:.1f} numbers learn for each token of the new text: it may be learned by "
                "heart. A lower rank learns less.",
                className="warn",
            )
        )
    return lines


def losses(run: Run) -> tuple[list[int], list[BothLossesEvent]]:
    """The steps at which both texts were looked at, and the losses."""
    found = run.events("both_losses")
    return [step for step, _ in found], [event_value("both_losses", d) for _, d in found]


def course(run: Run) -> tuple[go.Figure, str]:
    """The chart of both losses, and what it comes to in a sentence."""
    steps, both = losses(run)
    if not both:
        return blank("Validation loss, nats per token"), ""
    figure = charts.both_losses_figure(
        run.id, steps, [one.new for one in both], [one.old for one in both]
    )
    first, last = both[0], both[-1]
    sentence = f"New text: {first.new:.3f} before, {last.new:.3f} after step {steps[-1]:,}."
    if first.old is not None and last.old is not None:
        change = last.old - first.old
        what = "so much of it was forgotten" if change > 0.005 else "nothing was forgotten"
        sentence += (
            f" Old text: {first.old:.3f} before, {last.old:.3f} after ({change:+.3f}): {what}."
        )
    return figure, sentence


def about(lab: Lab, run: Run) -> html.Div:
    """Where a fine-tuned run came from, and whether that is still there."""
    finetune = run.manifest["finetune"]
    sentence = f"Fine-tuned from {finetune['run']}, step {finetune['step']:,}"
    sentence += f"; {finetune['trained']:,} of {run.manifest['parameters']:,} numbers learn."
    try:
        lab.runs.open(finetune["run"])
    except RunNotFoundError:
        sentence += (
            f" {finetune['run']} has been deleted meanwhile; this run has its weights (step 0) and "
            "needs it no more."
        )
    return html.Div(sentence, className="quiet")


def changes(run: Run) -> tuple[str, go.Figure, go.Figure]:
    """What is said of the change, the chart of norms, and that of singular values."""
    try:
        step, found = changes_of(run)
    except (CheckpointError, RunNotFoundError) as error:
        return str(error), *_blank()
    if not found:
        return NOT_SAVED, *_blank()
    low_rank = [one for one in found if one.singular]
    what = "B A" if low_rank else "the change"
    norms = charts.norms_figure(
        run.id,
        [one.layer for one in found],
        [one.part for one in found],
        [one.norm for one in found],
        what,
    )
    largest = max(found, key=lambda one: one.share)
    sentence = (
        f"After step {step:,}. Most changed, against its own size: {_name(largest)}, by "
        f"{largest.share:.1%}."
    )
    if not low_rank:
        sentence += " Singular values are shown for LoRA, whose change is B A."
        return sentence, norms, blank("Singular values of B A, over the largest")
    singular = charts.singular_figure(
        run.id, [_name(one) for one in low_rank], [one.singular for one in low_rank]
    )
    return f"{sentence} {rank_words(low_rank)}", norms, singular


def rank_words(found: list[Changed]) -> str:
    """How many directions hold 90 % of the change (of the squares of singular values)."""
    needed = [directions(one.singular) for one in found if max(one.singular, default=0) > 0]
    if not needed:
        return "B is still zero."
    rank = len(found[0].singular)
    return f"Of {rank} directions, {min(needed)} to {max(needed)} hold 90 % of each change: " + (
        "a lower rank might do." if max(needed) < rank / 2 else "the rank was used."
    )


def directions(singular: tuple[float, ...], share: float = 0.9) -> int:
    """How many of the largest singular values make up so much of the sum of their squares."""
    whole, sum_ = sum(value**2 for value in singular), 0.0
    for count, value in enumerate(singular, start=1):
        sum_ += value**2
        if sum_ >= share * whole:
            return count
    return len(singular)


def _name(one: Changed) -> str:
    return f"{one.part} of layer {one.layer}" if one.layer else one.part


def _blank() -> tuple[go.Figure, go.Figure]:
    return (
        blank("Norm of B A, by layer"),
        blank("Singular values of B A, over the largest"),
    )

"""What the comparison of gradients found, in words and tables."""

from typing import Any

from transformer_lab.experiments.experiment import Table
from transformer_lab.experiments.gradient_result import (
    EXACT,
    MOMENTS,
    PRECISIONS,
    TRAINED,
    GradientResult,
    precision_lines,
)
from transformer_lab.experiments.paired import all_worded, option_of
from transformer_lab.experiments.statistics import spread, verdict_table

WORDS = ("farther", "nearer")
SHOWN = (0, 1, 2, 5, 20)  # steps the table shows, beside the last


def answer(result: GradientResult) -> int | None:
    """Which option of the question is right: nearer, no clear difference, or farther."""
    return option_of(result.compared().get(TRAINED))


def verdict(result: GradientResult) -> str:
    """What the numbers say."""
    end, compared = result.settings.steps, result.compared()
    means: dict[str, list[float]] = {}
    for moment, words in MOMENTS.items():
        found = [result.cosine(moment, layer, end) for layer in range(result.layers)]
        if found and all(found):
            means[words] = [spread(one).mean for one in found]
    if len(compared) < 3:
        return "Not yet enough: no seed has settled to the end at all three times."
    said = "; ".join(
        f"{words} {', '.join(f'{mean:.3f}' for mean in found)}" for words, found in means.items()
    )
    lowest = min(min(found) for found in means.values())
    kind = "points nearly the same way as" if lowest > 0.9 else "resembles, but is not,"
    first, second = (spread(result.cosine("initial", 0, step)).mean for step in (1, 2))
    changes = all_worded(compared, "in cosine", 3, WORDS)
    return (
        f"After {end} steps predictive coding's gradient {kind} backpropagation's: cosines of "
        f"layers 1 to {result.layers} {said}. Of their mean, seed by seed: {changes}. In layer 1 "
        f"the cosine is {first:.3f} after one step and "
        f"{second:.3f} after two, for the error moves down one layer a step."
    )


def tables(result: GradientResult) -> list[Table]:
    """Cosines at a few T, and how exact the exact rules are."""
    steps = sorted(
        {*(step for step in SHOWN if step < result.settings.steps), result.settings.steps}
    )
    cosines = [
        [
            words,
            str(layer + 1),
            *(
                f"{spread(found).mean:.3f}"
                if (found := result.cosine(moment, layer, step))
                else "-"
                for step in steps
            ),
        ]
        for moment, words in MOMENTS.items()
        for layer in range(result.layers)
    ]
    exact = [
        [words, *(largest(result, moment, rule) for moment in MOMENTS)]
        for rule, words in EXACT.items()
    ]
    return [
        Table(
            title="Cosine of predictive coding's gradient with backpropagation's, mean over seeds",
            columns=["network", "layer", *(f"T = {step}" for step in steps)],
            rows=cosines,
        ),
        Table(
            title="Cosine at initialization after "
            f"{result.settings.steps} steps, by the precision of the label",
            columns=["layer", *(f"{precision:g}" for precision in PRECISIONS)],
            rows=by_precision(result),
        ),
        Table(
            title="Control: the same with the labels of other pictures, at initialization",
            columns=["layer", f"cosine after {result.settings.steps} steps"],
            rows=_other_labels(result),
        ),
        verdict_table(result.compared(), "of cosine", 3, WORDS),
        Table(
            title="Largest difference of the exact rules from backpropagation, relative",
            columns=["rule", *MOMENTS.values()],
            rows=exact,
        ),
    ]


def by_precision(result: GradientResult) -> list[list[str]]:
    """A row for each layer."""
    return [
        [series.name.removeprefix("layer "), *(f"{cosine:.4f}" for cosine in series.y)]
        for series in precision_lines(result).series
    ]


def _other_labels(result: GradientResult) -> list[list[str]]:
    """A row for each layer."""
    found = [one.other_labels for one in result.agreements if one.other_labels]
    return [
        [str(layer + 1), f"{spread(one[layer] for one in found).mean:.3f}"]
        for layer in range(result.layers if found else 0)
    ]


def largest(result: GradientResult, moment: str, rule: str) -> str:
    """The largest relative difference over seeds, for people."""
    found = [one.exact[rule] for one in result.agreements if one.moment == moment and one.exact]
    return f"{max(found):.1e}" if found else "-"


def rows(result: GradientResult) -> list[dict[str, Any]]:
    """Every cosine and every energy."""
    return [
        {
            "seed": one.seed,
            "network": one.moment,
            "steps": step,
            "energy": energy,
            **{
                f"cosine_layer_{layer + 1}": one.cosines[layer][step]
                for layer in range(len(one.cosines))
            },
        }
        for one in result.agreements
        for step, energy in enumerate(one.energy)
    ]

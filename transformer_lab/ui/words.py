"""Numbers and states as people read them."""

from collections.abc import Iterable
from typing import Any

from transformer_lab.lab.training.states import BUSY
from transformer_lab.lab.training.views import View
from transformer_lab.runs.run import Seam
from transformer_lab.settings import Setting, plain

MINUS = "\u2212"
STATES = {
    None: "nothing yet",
    "preparing": "preparing",
    "ready": "initialized",
    "starting": "starting",
    "running": "running",
    "pausing": "pausing",
    "paused": "paused",
    "stopping": "stopping",
    "finished": "finished",
    "stopped": "stopped",
    "failed": "failed",
    "interrupted": "interrupted",
    "damaged": "damaged",
}


KINDS_OF_SEAM = {"extended": "more steps of", "branched": "branched from"}


def seams(found: Iterable[Seam]) -> list[tuple[int, str]]:
    """Where a run left its parents, and what to write there."""
    return [(s.step, f"{KINDS_OF_SEAM.get(s.kind, s.kind)} {s.run}") for s in found]


def value(given: Any, setting: Setting | None = None) -> str:
    """A setting's value, or a figure, as people read it."""
    if given is None:
        return "–"
    if isinstance(given, bool):
        return "on" if given else "off"
    if isinstance(given, int | float):
        return plain(given)
    if setting is not None and setting.choices:
        return setting.choices.get(given, given)
    return str(given)


def compact(number: float) -> str:
    """12,345 as 12.3k, 810,000 as 810k, 25,400,000 as 25.4M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def steady(number: float) -> str:
    """A number in three digits, so that it is as wide a moment later: 12.0k, 8.30, 0.10."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * size:
            return f"{number / size:#.3g}".rstrip(".") + letter
    return f"{number:.2f}" if abs(number) < 9.995 else f"{number:#.3g}".rstrip(".")


def signed(shown: str) -> str:
    """A change with its sign, written as people do, and ±0 for none."""
    if not any(digit in "123456789" for digit in shown.partition("e")[0]):
        return "±0"
    return shown.replace("-", MINUS, 1) if shown.startswith("-") else f"+{shown.lstrip('+')}"


def rate(value: float, digits: int = 2) -> str:
    """A learning rate as 3.00e-4."""
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def clock(seconds: float) -> str:
    """Seconds as 0:08, 12:30 or 3:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """Seconds as 60 ms, 8 s, 12 min, 3.1 h or 2.4 days."""
    if seconds < 1:
        return f"{1000 * seconds:.2g} ms" if seconds < 0.01 else f"{1000 * seconds:.0f} ms"
    for length, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * length:
            amount = seconds / length
            return (
                f"{amount:.0f} {unit}" if amount >= 10 or unit == "min" else f"{amount:.1f} {unit}"
            )
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def size(count: float) -> str:
    """Bytes as 412 MB or 1.2 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def flops(count: float) -> str:
    """Additions and multiplications as 5.1 GFLOP or 2.3 TFLOP."""
    size, unit = next((x for x in ((1e12, "T"), (1e9, "G")) if count >= x[0]), (1e6, "M"))
    return (
        f"{count / size:,.2g} {unit}FLOP"
        if count < 100 * size
        else f"{count / size:,.0f} {unit}FLOP"
    )


def headline(view: View) -> str:
    """A run in one line: name, state, step, speed, time left."""
    if view.state is None:
        return "No run yet"
    name = view.run_id or "New model"
    parts = []
    if view.step:
        parts.append(f"{view.step:,} / {view.steps:,}")
    if view.state == "running" and view.speed:
        parts.append(f"{compact(view.speed)} tokens/s")
        if view.remaining is not None:
            parts.append(f"{clock(view.remaining)} left")
    whole = [part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts]  # in a narrow place
    return " · ".join([f"{name} · {view.doing or STATES[view.state]}", *whole])


def spoken(view: View, milestones: Iterable[float] = ()) -> str:
    """What a screen reader says of a run: its state, its loss at the end, milestones; no counting.

    It changes seldom, for each change is read aloud.
    """
    if view.state is None:
        return ""
    parts = [f"{view.run_id or 'New model'} is {view.doing or STATES[view.state]}"]
    loss = view.validation_loss
    if loss is not None and view.state not in BUSY:
        parts.append(f"validation loss {loss:.2f}")
    elif loss is not None and (below := [limit for limit in milestones if loss < limit]):
        parts.append(f"validation loss below {min(below):g}")
    return ", ".join([*parts, view.reason] if view.reason else parts)

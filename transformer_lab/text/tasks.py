"""Tasks: made-up texts that each teach one mechanism, with problems that have one right answer.

Each line is a question, up to and with the task's sign, and its answer.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

LINES = 20_000
LETTERS = "abcdefghijklmnopqrstuvwxyz"
PAIRS = {"(": ")", "[": "]", "{": "}"}
SIGNS = "|=>"  # one of them ends each question


@dataclass(frozen=True)
class Problem:
    """A question and the one answer that counts as right, without the end of the line."""

    question: str
    answer: str


@dataclass(frozen=True)
class Task:
    """What a made-up corpus teaches: `make` gives one problem from a random generator."""

    title: str
    lesson: str
    make: Callable[[random.Random], Problem]


def copying(draw: random.Random) -> Problem:
    """Repeat random letters: what an induction head does, look back for what followed last time."""
    letters = "".join(draw.choices(LETTERS, k=draw.randint(4, 12)))
    return Problem(f"{letters}|", letters)


def addition(draw: random.Random) -> Problem:
    """Add two numbers of up to three digits."""
    one, other = draw.randrange(1000), draw.randrange(1000)
    return Problem(f"{one}+{other}=", str(one + other))


def sorting(draw: random.Random) -> Problem:
    """Put letters in order."""
    letters = draw.choices(LETTERS[:10], k=draw.randint(4, 8))
    return Problem("".join(letters) + ">", "".join(sorted(letters)))


def brackets(draw: random.Random) -> Problem:
    """Close what is still open, the last first."""
    written: list[str] = []
    still_open: list[str] = []
    for _ in range(draw.randint(4, 14)):
        if still_open and draw.random() < 0.4:
            written.append(still_open.pop())
        else:
            opening = draw.choice(list(PAIRS))
            written.append(opening)
            still_open.append(PAIRS[opening])
    return Problem("".join(written) + "=", "".join(reversed(still_open)))


TASKS = {
    "copying": Task("Task: copying", "Repeats random letters, as induction heads do.", copying),
    "addition": Task("Task: addition", "Adds numbers of up to three digits.", addition),
    "sorting": Task("Task: sorting", "Puts letters in order.", sorting),
    "brackets": Task("Task: brackets", "Closes what is still open, the last first.", brackets),
}


def task_text(name: str) -> str:
    """The corpus of a task: always the same 20,000 lines."""
    draw = random.Random(f"{name} 1")
    problems = (TASKS[name].make(draw) for _ in range(LINES))
    return "".join(f"{problem.question}{problem.answer}\n" for problem in problems)


def held_out(training: str, validation: str, count: int = 100) -> list[Problem]:
    """The first whole lines of the validation text that never occur in the training text."""
    seen = set(training.splitlines())
    problems = []
    for line in validation.splitlines()[1:-1]:
        if line not in seen:
            sign = next(place for place, letter in enumerate(line) if letter in SIGNS)
            problems.append(Problem(line[: sign + 1], line[sign + 1 :]))
        if len(problems) == count:
            break
    return problems

"""Train the built-in recipes with several seeds, and write what their validation losses were.

python docs/make_expected.py [--seeds 5] [--seconds 600] [RECIPE ...]

Writes recipes/expected/RECIPE.json, by which the page answers "is this normal?". Each run ends
after so many seconds; what it has come to by then is written. `--every` looks more often than the
recipe does, for one that would not come to its first evaluation.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from transformer_lab.experiments.expected import Course, Shipped, fingerprint
from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import Recipe, load_recipes

FOLDER = Path(__file__).parents[1] / "recipes" / "expected"


def course(lab: Lab, recipe: Recipe, seed: int, seconds: float, every: int) -> tuple[Course, str]:
    """The validation losses of one run, and the digest of its text."""
    changes = {"train.seed": seed, "train.evaluate_every": every}
    lab.trainings.start(recipe.setup.with_values(changes), recipe.slug)
    run, begun = lab.trainings.current, time.monotonic()
    while run and not run.ended:
        time.sleep(0.1)
        if time.monotonic() - begun > seconds and run.status.state == "running":
            lab.trainings.stop("Enough is known.")
            lab.trainings.wait(60)
    stored = lab.runs.open(lab.runs.shown())
    losses = {p.step: round(p.validation_loss or 0.0, 4) for p in stored.evaluated()}
    return losses, str(stored.manifest["corpus"]["sha256"])


def make(recipe: Recipe, seeds: int, seconds: float, every: int) -> Shipped:
    """The runs of one recipe."""
    courses: dict[int, Course] = {}
    text = ""
    with tempfile.TemporaryDirectory() as home:
        lab = Lab(Path(home))
        try:
            for seed in range(1, seeds + 1):
                courses[seed], text = course(lab, recipe, seed, seconds, every)
                last = list(courses[seed].items())[-1:]
                sys.stdout.write(f"{recipe.slug}, seed {seed}: {last}\n")
                sys.stdout.flush()
        finally:
            lab.close()
    return Shipped(
        recipe=recipe.slug,
        text=text,
        fingerprint=fingerprint(recipe.setup, text),
        steps=recipe.setup.train.steps,
        courses={seed: found for seed, found in courses.items() if found},
    )


def main() -> int:
    """Make the files of the recipes that are named, or of all."""
    recipes = load_recipes()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="*")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=600, help="of each run at most")
    parser.add_argument("--every", type=int, default=0, help="steps from one look to the next")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    if problem := [slug for slug in arguments.recipe if slug not in recipes]:
        parser.error(f"there is no recipe {problem[0]}")
    for slug in arguments.recipe or recipes:
        every = arguments.every or recipes[slug].setup.train.evaluate_every
        made = make(recipes[slug], arguments.seeds, arguments.seconds, every)
        (FOLDER / f"{slug}.json").write_text(made.written(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

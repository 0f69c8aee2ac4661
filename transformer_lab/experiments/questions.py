"""Ready questions: TOML files in recipes/questions/. To add one, drop a file there."""

from functools import lru_cache
from pathlib import Path

from transformer_lab.experiments.comparison import Comparison, comparison_from
from transformer_lab.packaged import packaged
from transformer_lab.recipes import file_stamp, read_toml
from transformer_lab.settings import ConfigError


def load_question(path: Path, *, quick: bool = False) -> Comparison:
    """Read one question. Raises ConfigError that names the file, the key and the value."""
    recipes = [file_stamp(one, "recipe") for one in sorted(packaged("recipes").glob("*.toml"))]
    return _question(path, quick, (file_stamp(path, "question"), *recipes))


@lru_cache(maxsize=64)
def _question(path: Path, quick: bool, stamps: tuple[tuple[int, int], ...]) -> Comparison:
    """The question of a file; read again once that or a recipe, its base, has changed."""
    try:
        return comparison_from(read_toml(path, "question"), path.stem, quick=quick)
    except ConfigError as error:
        raise ConfigError(error.field, f"{path.name}: {error}") from error


def ready() -> dict[str, Path]:
    """The files of the questions that come with the lab, by name."""
    return {path.stem: path for path in sorted((packaged("recipes") / "questions").glob("*.toml"))}


def load_questions(*, quick: bool = True) -> dict[str, Comparison]:
    """All questions that come with the lab, in their order."""
    found = [load_question(path, quick=quick) for path in ready().values()]
    return {one.slug: one for one in sorted(found, key=lambda one: (one.order, one.title))}


def find_question(name: str, *, quick: bool = False) -> Comparison:
    """A question by its name or by the path of a file. Raises ConfigError."""
    paths = ready()
    if name in paths:
        return load_question(paths[name], quick=quick)
    if name.endswith(".toml"):
        return load_question(Path(name), quick=quick)
    raise ConfigError(
        "question", f"There is no question {name!r}: choose {', '.join(paths)}, or a .toml file."
    )

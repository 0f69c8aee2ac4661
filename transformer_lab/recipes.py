"""Recipes: complete, working settings for one lesson each, as TOML files.

To add one, drop a file in recipes/. Sections [data] [model] [train] [sample] hold settings by name;
what a recipe does not mention has its default. [about] has title, summary, order and group.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from transformer_lab.generation import SampleConfig
from transformer_lab.model import ModelConfig
from transformer_lab.packaged import packaged
from transformer_lab.settings import (
    Config,
    ConfigError,
    Setting,
    from_mapping,
    settings_of,
    shown,
    unknown_key,
)
from transformer_lab.text import DataConfig
from transformer_lab.training import TrainConfig

GROUPS: dict[str, type[Config]] = {
    config.GROUP: config for config in (DataConfig, ModelConfig, TrainConfig, SampleConfig)
}
TUTORIAL = "tiny_shakespeare"  # the recipe that is the tutorial's first model, unchanged
ABOUT = ("title", "summary", "order", "group")


@dataclass(frozen=True, kw_only=True)
class Setup:
    """All settings of one training: which text, which model, how trained, how sampled."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)

    def __post_init__(self) -> None:
        """Check what groups ask of one another. Raises ConfigError."""
        piece, length = self.train.piece, self.model.sequence_length
        if piece % length:
            raise ConfigError(
                "train.piece",
                f"Piece Length {piece:,} cannot be cut into sequences of {length:,} tokens: choose "
                f"a multiple of {length:,}, or 0.",
            )

    @property
    def longest_piece(self) -> int:
        """How many tokens are taken from the text at once."""
        return max(self.model.sequence_length, self.train.piece)

    def to_mapping(self) -> dict[str, dict[str, Any]]:
        """Plain values by group and name, as a recipe writes them."""
        return asdict(self)

    def values(self) -> dict[str, Any]:
        """Plain values by dotted name: {"model.heads": 4, ...}."""
        return {
            f"{group}.{name}": value
            for group, values in self.to_mapping().items()
            for name, value in values.items()
        }

    def with_values(self, values: Mapping[str, Any]) -> "Setup":
        """This setup with some settings changed, by dotted name. Raises ConfigError."""
        changed = self.to_mapping()
        for key, value in values.items():
            group, _, name = key.partition(".")
            if key not in SETTINGS:
                raise unknown_key("", key, SETTINGS)
            changed[group][name] = value
        return setup_from(changed)


SETTINGS: dict[str, Setting] = {
    setting.key: setting for config in GROUPS.values() for setting in settings_of(config)
}


def setup_from(mapping: Mapping[str, Any]) -> Setup:
    """A setup from plain values by group and name. Raises ConfigError naming a key or a value."""
    for group, values in mapping.items():
        if group not in GROUPS:
            raise unknown_key("", group, GROUPS)
        if not isinstance(values, Mapping):
            raise ConfigError(group, f"{group} must be a section [{group}], not {shown(values)}.")
    configs: dict[str, Any] = {
        group: from_mapping(GROUPS[group], values) for group, values in mapping.items()
    }
    return Setup(**configs)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A named setup. `slug` is its file's name, `summary` one sentence for the page.

    `group` is the heading it stands under in a list; those without one come first.
    """

    slug: str
    title: str
    summary: str
    order: int
    setup: Setup
    group: str = ""


def load_recipe(path: Path) -> Recipe:
    """Read one recipe file. Raises ConfigError that names the file, the key and the value."""
    return _recipe(path, *file_stamp(path, "recipe"))


def file_stamp(path: Path, kind: str) -> tuple[int, int]:
    """What changes when a file is written: its time and its size. Raises ConfigError."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise ConfigError(kind, f"There is no {kind} file {path}.") from None
    except OSError as error:
        raise ConfigError(kind, f"{path} is not a readable TOML file: {error}.") from error
    return found.st_mtime_ns, found.st_size


def read_toml(path: Path, kind: str) -> dict[str, Any]:
    """What a file says. Raises ConfigError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(kind, f"{path} is not a readable TOML file: {error}.") from error


@lru_cache(maxsize=64)
def _recipe(path: Path, changed: int, size: int) -> Recipe:
    """The recipe of a file; it is read again once the file has changed."""
    content = read_toml(path, "recipe")
    about = content.pop("about", {})
    try:
        if not isinstance(about, dict):
            raise ConfigError("about", f"about must be a section [about], not {shown(about)}.")
        for key in about:
            if key not in ABOUT:
                raise unknown_key("about", key, ABOUT)
        order = about.get("order", 100)
        if not isinstance(order, int):
            raise ConfigError("about.order", f"order is {shown(order)}: use a whole number.")
        setup = setup_from(content)
    except ConfigError as error:
        raise ConfigError(error.field, f"{path.name}: {error}") from error
    return Recipe(
        slug=path.stem,
        title=str(about.get("title", path.stem)),
        summary=str(about.get("summary", "")),
        order=order,
        setup=setup,
        group=str(about.get("group", "")),
    )


def load_recipes() -> dict[str, Recipe]:
    """All recipes that come with the lab, in their order."""
    recipes = [load_recipe(path) for path in packaged("recipes").glob("*.toml")]
    return {recipe.slug: recipe for recipe in sorted(recipes, key=lambda r: (r.order, r.title))}


def find_recipe(name: str) -> Recipe:
    """A recipe by its slug or by the path of a file. Raises ConfigError."""
    recipes = load_recipes()
    if name in recipes:
        return recipes[name]
    if name.endswith(".toml"):
        return load_recipe(Path(name))
    raise ConfigError(
        "recipe", f"There is no recipe {name!r}: choose {', '.join(recipes)}, or a .toml file."
    )


# What a tutorial gives no number for: how it is watched, kept and computed.
UNTAUGHT = (
    "evaluat", "keep", "save", "seed", "device", "where", "workers", "shard", "micro",
    "compile", "threads",
)  # fmt: skip


def differences(setup: Setup) -> list[tuple[Setting, Any, Any]]:
    """The settings in which a model and its training differ from the tutorial's first one.

    Each with its value and the tutorial's. How text is sampled, and how the training is watched,
    kept and computed, does not count.
    """
    recipe = load_recipes()[TUTORIAL]
    own, taught = setup.values(), recipe.setup.values()
    keys = [key for key in changed_settings(setup, recipe) if not key.startswith("sample.")]
    return [
        (SETTINGS[key], own[key], taught[key])
        for key in keys
        if not key.partition(".")[2].startswith(UNTAUGHT)
    ]


def changed_settings(setup: Setup, recipe: Recipe) -> list[str]:
    """The dotted names of the settings in which a setup differs from the recipe."""
    own, recipes = setup.values(), recipe.setup.values()
    return [key for key, value in own.items() if value != recipes[key]]

"""The controls of Generate: which there are, and the settings they hold."""

from collections.abc import Mapping

from dash import Output, State

from transformer_lab.generation import SampleConfig
from transformer_lab.recipes import SETTINGS
from transformer_lab.ui import form
from transformer_lab.ui import ids as shared_ids

Scalar = str | bool | int | float | None
NAMES = [setting.name for setting in SETTINGS.values() if setting.group == "sample"]
STATES = {name: State(shared_ids.sample_setting(name), "value") for name in NAMES}
PROBLEMS = {name: Output(shared_ids.problem("sample", name), "children") for name in NAMES}
DRAWING = ("temperature", "top_k", "top_p")  # what a token is drawn by
PROMPT = shared_ids.sample_setting("prompt")


def config_of(given: Mapping[str, Scalar]) -> tuple[SampleConfig | None, dict[str, str]]:
    """The settings in the controls, and what is wrong with them by dotted name."""
    values = [(SETTINGS[f"sample.{name}"], value) for name, value in given.items()]
    return form.read_config(SampleConfig, values)


def marks(problems: Mapping[str, str]) -> dict[str, str]:
    """What stands below each control: its problem, or nothing."""
    return {name: problems.get(f"sample.{name}", "") for name in NAMES}

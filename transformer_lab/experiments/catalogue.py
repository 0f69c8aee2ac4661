"""All experiments, by key, in the order in which the page shows them."""

from typing import Any

from transformer_lab.experiments import (
    deep_networks,
    gradient_agreement,
    language_model_leak,
    latents,
    leak_microscope,
    pc_against_backprop,
    target_alignment,
    transformers,
    wide_networks,
)
from transformer_lab.experiments.experiment import Experiment

EXPERIMENTS: dict[str, Experiment[Any, Any]] = {
    one.key: one
    for one in (
        leak_microscope.EXPERIMENT,
        pc_against_backprop.EXPERIMENT,
        gradient_agreement.EXPERIMENT,
        language_model_leak.EXPERIMENT,
        transformers.EXPERIMENT,
        latents.EXPERIMENT,
        deep_networks.EXPERIMENT,
        wide_networks.EXPERIMENT,
        target_alignment.EXPERIMENT,
    )
}

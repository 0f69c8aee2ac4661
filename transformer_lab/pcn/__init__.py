"""Predictive coding as a small library. Begin reading at `energy.py`, then `inference.py`."""

from transformer_lab.pcn.energy import ACTIVATIONS, Activation, Link, energy, predict
from transformer_lab.pcn.inference import Settled, settle, settled
from transformer_lab.pcn.learning import PCN_LEARNING_RULES, backpropagation, learn
from transformer_lab.pcn.network import (
    LABEL,
    DiscriminativeNetwork,
    GenerativeNetwork,
    Network,
    classify,
    discriminative,
    generative,
)

__all__ = [
    "ACTIVATIONS",
    "LABEL",
    "PCN_LEARNING_RULES",
    "Activation",
    "DiscriminativeNetwork",
    "GenerativeNetwork",
    "Link",
    "Network",
    "Settled",
    "backpropagation",
    "classify",
    "discriminative",
    "energy",
    "generative",
    "learn",
    "predict",
    "settle",
    "settled",
]

"""Transformer Lab: understand transformers by making one."""

__version__ = "0.1.0"

"""Experiments under way."""

"""Experiments with predictive coding."""

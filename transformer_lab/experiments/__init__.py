"""Experiments with predictive coding. `catalogue.EXPERIMENTS` lists them, `experiment.py` says what
each of them offers, and `report.py` runs them all and writes down what came out."""

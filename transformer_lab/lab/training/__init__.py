"""Trainings: starting and steering them, the queue, the worker, what they cost."""

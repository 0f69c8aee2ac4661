"""Trainings that others carry out for the lab: processes of their own, and a cluster."""

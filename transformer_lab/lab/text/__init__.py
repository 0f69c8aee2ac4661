"""Texts on offer, encoded; a look at how they become tokens."""

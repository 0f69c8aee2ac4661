"""A run on disk: its files, its database, its checkpoints, the store of all runs."""

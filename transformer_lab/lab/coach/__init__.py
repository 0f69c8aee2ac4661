"""What a run shows, and what the coach says of it."""

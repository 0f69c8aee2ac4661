"""Models to write with and to look into."""

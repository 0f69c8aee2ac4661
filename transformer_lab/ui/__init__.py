"""The page: a Dash application over a Lab. Begin at `server.py`."""

"""A server that ends within a process which goes on."""

from typing import Any

from waitress import wasyncore


def shut(server: Any) -> None:
    """End a server, and every connection that a browser would keep open to it."""
    server.task_dispatcher.shutdown()
    wasyncore.close_all(server._map, ignore_all=True)

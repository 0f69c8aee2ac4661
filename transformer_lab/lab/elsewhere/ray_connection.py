"""The connection to a Ray cluster, or why there is none."""

import os
import secrets
import socket
from importlib.util import find_spec
from typing import Any

ANSWER_SECONDS = 5.0  # in which the address of a cluster has to answer
NOT_INSTALLED = "Ray is not installed here: pip install 'transformer-lab[cluster]'."
BY_CLIENT = (
    "ray:// is the address of Ray's client, which the lab does not use: start the lab on a "
    "computer of the cluster, with --ray auto."
)
NO_CLUSTER = (
    "No Ray cluster runs on this computer, or it wants a token that is not the one here: start one "
    "(ray start --head), join one (ray start --address=HOST:6379), or try --ray local."
)


def connection_problem(address: str) -> str:
    """Why there can be no connection to such an address, in a sentence; "" where it may succeed."""
    if find_spec("ray") is None:
        return NOT_INSTALLED
    if "://" in address:
        return BY_CLIENT
    host, colon, port = address.rpartition(":")
    if not colon:
        known = address in ("auto", "local")
        return "" if known else f"{address!r} is no address: give auto, local or HOST:PORT."
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS):
            return ""
    except (OSError, ValueError, OverflowError) as error:
        return f"No Ray cluster answers at {address} ({error})."


def connect(address: str) -> Any:
    """Ray, connected to a cluster, or with one of its own on this computer for `local`.

    Raises ConnectionError with a sentence.
    """
    if problem := connection_problem(address):
        raise ConnectionError(problem)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it would report to its makers
    own = {}
    if address == "local":  # it listens on every network: let in only what has this token
        own = {"include_dashboard": False}
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    import ray  # noqa: PLC0415 - an extra, and only this program needs it
    import ray.exceptions  # noqa: PLC0415

    try:
        ray.init(address, log_to_driver=False, configure_logging=False, **own)
    except ConnectionError:
        raise ConnectionError(NO_CLUSTER) from None
    except (RuntimeError, ValueError, AssertionError) as error:
        first = str(error).strip().partition("\n")[0]
        raise ConnectionError(f"No connection to the cluster at {address}: {first}") from error
    return ray

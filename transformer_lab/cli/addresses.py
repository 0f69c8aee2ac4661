"""Where the page is to be found, and the token that opens it, from the options of serve."""

import argparse
import os
from urllib.parse import quote

from transformer_lab.settings import ConfigError
from transformer_lab.ui.web.access import SHORTEST, new_token

TOKEN = "TRANSFORMER_LAB_TOKEN"


def checked_place(arguments: argparse.Namespace) -> tuple[str, str, list[str]]:
    """Host, base path, and further names that are answered to. Raises ConfigError."""
    if not 0 < arguments.port < 65536:
        raise ConfigError("port", f"Port is {arguments.port}: choose one from 1 to 65,535.")
    host, base_path = arguments.host.strip().strip("[]"), checked_base(arguments.base_path)
    if not host:
        raise ConfigError("host", "Host is empty: leave --host out for this computer alone.")
    names = [in_address(name.strip().strip("[]").lower()) for name in arguments.allow_host]
    return host, base_path, names


def chosen_token(variable: str = TOKEN) -> str:
    """The token of an environment variable, or a new one. Raises ConfigError for a short one."""
    chosen = os.environ.get(variable, "")
    if chosen and len(chosen) < SHORTEST:
        raise ConfigError(
            variable,
            f"The token in {variable} has {len(chosen)} characters: take at least {SHORTEST}, or "
            "none, for one that is made anew at each start.",
        )
    if quote(chosen, safe="") != chosen:
        raise ConfigError(
            variable, f"The token in {variable} may have letters, digits, - and _ only."
        )
    return chosen or new_token()


def address(host: str, port: int) -> str:
    """Where a browser on this computer finds the lab."""
    here = {"127.0.0.1": "localhost", "0.0.0.0": "localhost", "::": "::1"}.get(host, host)
    return f"http://{in_address(here)}:{port}"


def in_address(host: str) -> str:
    """A host as it stands in an address: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def checked_base(path: str) -> str:
    """A base path as "" or "/lab". Raises ConfigError."""
    parts = [part for part in path.split("/") if part]
    plain = all(
        part.isascii() and part.replace("-", "").replace("_", "").isalnum() for part in parts
    )
    if not plain or (path and not path.startswith("/")):
        raise ConfigError(
            "base-path",
            f"Base path is {path!r}: write it like /lab, of letters, digits, - and _.",
        )
    return "".join(f"/{part}" for part in parts)

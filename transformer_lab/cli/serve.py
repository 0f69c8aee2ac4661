"""transformer-lab serve"""

import argparse
import logging
import os
from urllib.parse import quote

# On the main thread, before any other starts: the optimizers need it, and it takes a second.
import torch._dynamo  # noqa: F401

from transformer_lab.cli.common import home_folder
from transformer_lab.cli.listening import listen
from transformer_lab.cli.output import mention
from transformer_lab.cli.places import jupyter_words, tunnel_of
from transformer_lab.lab.home import writing_problem
from transformer_lab.lab.lab import Lab
from transformer_lab.settings import ConfigError
from transformer_lab.ui.server import create_app
from transformer_lab.ui.web.access import NAME, SHORTEST, new_token
from transformer_lab.ui.web.guard import is_loopback

TOKEN = "TRANSFORMER_LAB_TOKEN"


def serve(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C; what trains then is saved."""

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if not 0 < arguments.port < 65536:
        raise ConfigError("port", f"Port is {arguments.port}: choose one from 1 to 65,535.")
    host, base_path = arguments.host.strip().strip("[]"), checked_base(arguments.base_path)
    if not host:
        raise ConfigError("host", "Host is empty: leave --host out for this computer alone.")
    names = [in_address(name.strip().strip("[]").lower()) for name in arguments.allow_host]
    lab = Lab(home_folder(arguments))
    try:
        alone = is_loopback(host) and not names and not arguments.trust_proxy
        token = "" if alone or arguments.no_token else chosen_token()
        lab.texts.paths_allowed = alone or arguments.allow_paths
        app = create_app(
            lab,
            allowed_hosts=[in_address(host.lower()), *names],
            base_path=base_path,
            trust_proxy=arguments.trust_proxy,
            token=token,
            debug=arguments.debug,
        )
        where = f"{address(host, arguments.port)}{base_path}"
        link = f"{where}/?{NAME}={token}" if token else where
        ready = f"Transformer Lab is at {link} - Ctrl-C ends it. Runs are kept in {lab.home}."
        if token:
            ready += " Other computers open that link with this computer's name in it."
        if tunnel := tunnel_of(os.environ, arguments.port) if alone else "":
            ready += f" Over SSH, run this on your own computer first: {tunnel}"
        if words := jupyter_words(os.environ, arguments.port, base_path):
            ready += f" {words}"
        if problem := writing_problem(lab.home):
            ready += f" They can be looked at only: {problem}"
        if arguments.debug:
            mention(ready)
            app.run(
                host=host,
                port=arguments.port,
                debug=True,
                use_reloader=False,
                dev_tools_disable_version_check=True,
            )
        else:
            server = listen(app.server, host, arguments.port, lab.home)
            mention(ready)
            server.run()
    finally:
        lab.close()
    return 0


def chosen_token() -> str:
    """The token of TRANSFORMER_LAB_TOKEN, or a new one. Raises ConfigError for a short one."""
    chosen = os.environ.get(TOKEN, "")
    if chosen and len(chosen) < SHORTEST:
        raise ConfigError(
            TOKEN,
            f"The token in {TOKEN} has {len(chosen)} characters: take at least {SHORTEST}, or "
            "none, for one that is made anew at each start.",
        )
    if quote(chosen, safe="") != chosen:
        raise ConfigError(TOKEN, f"The token in {TOKEN} may have letters, digits, - and _ only.")
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

"""transformer-lab serve"""

import argparse
import logging
import os

# On the main thread, before any other starts: the optimizers need it, and it takes a second.
import torch._dynamo  # noqa: F401

from transformer_lab.cli.addresses import address, checked_place, chosen_token, in_address
from transformer_lab.cli.common import home_folder
from transformer_lab.cli.listening import listen
from transformer_lab.cli.output import mention
from transformer_lab.cli.places import jupyter_words, tunnel_of
from transformer_lab.lab.home import writing_problem
from transformer_lab.lab.lab import Lab
from transformer_lab.ui.server import create_app
from transformer_lab.ui.web.access import NAME
from transformer_lab.ui.web.guard import is_loopback


def serve(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C; what trains then is saved."""

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    host, base_path, names = checked_place(arguments)
    if arguments.classroom:
        from transformer_lab.cli.classroom import serve_class  # noqa: PLC0415 - for a class only

        return serve_class(arguments, host, base_path, names)
    lab = Lab(home_folder(arguments))
    try:
        if arguments.ray:
            lab.trainings.connect(arguments.ray)
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
        link = f"{address(host, arguments.port)}{base_path}"
        ready = _ready(lab, f"{link}/?{NAME}={token}" if token else link, bool(token))
        if tunnel := tunnel_of(os.environ, arguments.port) if alone else "":
            ready += f" Over SSH, run this on your own computer first: {tunnel}"
        if words := jupyter_words(os.environ, arguments.port, base_path):
            ready += f" {words}"
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


def _ready(lab: Lab, link: str, others: bool) -> str:
    """What is said when the page can be opened; `others` says that other computers can reach it."""
    ready = f"Transformer Lab is at {link} - Ctrl-C ends it. Runs are kept in {lab.home}."
    if others:
        ready += " Other computers open that link with this computer's name in it."
    if problem := writing_problem(lab.home):
        ready += f" They can be looked at only: {problem}"
    if cluster := lab.trainings.cluster:
        count = len(cluster.computers)
        ready += f" What is queued is sent to a cluster of {count} computer{'s' * (count > 1)}."
    return ready

"""transformer-lab serve"""

import argparse
import logging

# On the main thread, before any other starts: the optimizers need it, and it takes a second.
import torch._dynamo  # noqa: F401
import waitress

from transformer_lab.cli.common import home_folder
from transformer_lab.cli.output import mention
from transformer_lab.lab.home import writing_problem
from transformer_lab.lab.lab import Lab
from transformer_lab.settings import ConfigError
from transformer_lab.ui.server import create_app


def serve(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C; what trains then is saved."""

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if not 0 < arguments.port < 65536:
        raise ConfigError("port", f"Port is {arguments.port}: choose one from 1 to 65,535.")
    lab = Lab(home_folder(arguments))
    try:
        named = [arguments.host, *arguments.allow_host]
        app = create_app(lab, allowed_hosts=[name.lower() for name in named])
        address = "localhost" if arguments.host in ("127.0.0.1", "0.0.0.0") else arguments.host
        where = f"Transformer Lab is at http://{address}:{arguments.port} - Ctrl-C ends it. "
        ready = f"{where}Runs are kept in {lab.home}."
        if problem := writing_problem(lab.home):
            ready += f" They can be looked at only: {problem}"
        if arguments.debug:
            mention(ready)
            app.run(
                host=arguments.host,
                port=arguments.port,
                debug=True,
                use_reloader=False,
                dev_tools_disable_version_check=True,
            )
        else:
            server = waitress.create_server(
                app.server, host=arguments.host, port=arguments.port, threads=8
            )
            mention(ready)
            server.run()
    except OSError as error:
        raise ConfigError(
            "port",
            f"{arguments.host}:{arguments.port} cannot be used ({error.strerror or error}): "
            "end the program that holds it, or choose another with --port "
            f"{arguments.port % 65535 + 1}.",
        ) from None
    finally:
        lab.close()
    return 0

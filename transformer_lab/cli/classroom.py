"""transformer-lab serve --classroom"""

import argparse
from collections.abc import Sequence

from transformer_lab.cli.addresses import TOKEN, address, chosen_token, in_address
from transformer_lab.cli.common import home_folder
from transformer_lab.cli.listening import listen
from transformer_lab.cli.output import mention
from transformer_lab.lab.classroom.classroom import Classroom, Limits
from transformer_lab.lab.classroom.quota import Quota
from transformer_lab.lab.common import Common
from transformer_lab.lab.home import writing_problem
from transformer_lab.lab.lab import Lab
from transformer_lab.settings import ConfigError
from transformer_lab.ui.classroom.door import Door
from transformer_lab.ui.web.access import NAME
from transformer_lab.ui.web.guard import is_loopback

CLASS_TOKEN = "TRANSFORMER_LAB_CLASS_TOKEN"
THREADS = 32  # that answer requests: no few learners hold them all
MOST = {  # of what the options of a class say
    "people": 1000,
    "people_here": 1000,
    "most_runs": 100_000,
    "most_mb": 10_000_000,
    "most_minutes": 1_000_000,
}


def serve_class(
    arguments: argparse.Namespace, host: str, base_path: str, names: Sequence[str]
) -> int:
    """Serve a class until Ctrl-C; what anybody trains then is saved. Raises ConfigError."""
    limits = checked_limits(arguments)
    teacher, learners = class_tokens()
    common = Common()
    lab = Lab(home_folder(arguments), common=common)
    try:
        if problem := writing_problem(lab.home):
            raise ConfigError("home", problem)
        classroom = Classroom(lab, common, limits)
        try:
            door = Door(
                classroom,
                teacher=teacher,
                learners=learners,
                allowed_hosts=[in_address(host.lower()), *names],
                base_path=base_path,
                trust_proxy=arguments.trust_proxy,
            )
            server = listen(door, host, arguments.port, lab.home, THREADS)
            shown = names[0] if names else ""
            mention(greeting(host, arguments.port, base_path, shown, (teacher, learners)))
            server.run()
        finally:
            classroom.close()
    finally:
        lab.close()
        common.thread.close()
    return 0


def greeting(host: str, port: int, base_path: str, name: str, tokens: tuple[str, str]) -> str:
    """Both links, and what a class needs to reach them."""
    where = f"http://{name}:{port}" if name else address(host, port)
    teacher, learners = (f"{where}{base_path}/?{NAME}={token}" for token in tokens)
    words = (
        "Transformer Lab is open for a class - Ctrl-C ends it.\n"
        f"  For you, the teacher: {teacher}\n"
        f"  For the class:        {learners}"
    )
    if is_loopback(host) and not name:
        words += (
            "\nOnly this computer reaches it: add --host 0.0.0.0 --allow-host NAME, with the name "
            "or address by which the class finds this computer."
        )
    elif not name:
        words += (
            "\nOthers open the link with this computer's name in it, which --allow-host must give."
        )
    return words


def class_tokens() -> tuple[str, str]:
    """The teacher's token and the class's. Raises ConfigError."""
    teacher, learners = chosen_token(), chosen_token(CLASS_TOKEN)
    if teacher == learners:
        raise ConfigError(
            CLASS_TOKEN,
            f"{TOKEN} and {CLASS_TOKEN} are the same, which makes everybody the teacher: choose "
            "two.",
        )
    return teacher, learners


def checked_limits(arguments: argparse.Namespace) -> Limits:
    """What the options of a class say. Raises ConfigError."""
    if arguments.no_token:
        raise ConfigError(
            "no-token",
            "--no-token lets everybody in as the teacher, so it does not go with --classroom: "
            "leave it out.",
        )
    if arguments.debug:
        raise ConfigError(
            "debug", "--debug shows how the lab works inside: leave it out with --classroom."
        )
    if arguments.ray:
        raise ConfigError(
            "ray", "A class trains on one computer: leave --ray out with --classroom."
        )
    for option, most in MOST.items():
        value = getattr(arguments, option)
        if not 1 <= value <= most:
            name = option.replace("_", "-")
            raise ConfigError(name, f"--{name} is {value}: choose one from 1 to {most:,}.")
    quota = Quota(
        runs=arguments.most_runs,
        nbytes=arguments.most_mb * 1_000_000,
        seconds=arguments.most_minutes * 60.0,
    )
    return Limits(people=arguments.people, here=arguments.people_here, quota=quota)

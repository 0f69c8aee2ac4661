"""Where the lab runs: over SSH, in Jupyter, in a container, on WSL; and what is in the way there.

Only the standard library is used: `doctor` must run when packages are missing.
"""

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

MARKS = ("/.dockerenv", "/run/.containerenv")  # files that a container has
MOUNTS = "/proc/mounts"


def tunnel_of(environment: Mapping[str, str], port: int) -> str:
    """The command that brings the page to the computer from which somebody came over SSH, or ""."""
    connection = environment.get("SSH_CONNECTION", "").split()
    if len(connection) != 4:
        return ""
    _, _, here, ssh_port = connection
    other = "" if ssh_port == "22" else f" -p {ssh_port}"
    return f"ssh -N -L {port}:localhost:{port}{other} {environment.get('USER', 'you')}@{here}"


def jupyter_base(environment: Mapping[str, str], port: int) -> str:
    """The base path under which jupyter-server-proxy shows the lab, in a terminal or notebook of a
    Jupyter server; "" where there is none."""
    prefix = environment.get("JUPYTERHUB_SERVICE_PREFIX", "")
    server = re.fullmatch(r"https?://[^/]+(/.*)?", environment.get("JUPYTER_SERVER_URL", ""))
    if not prefix and not server:
        return ""
    before = prefix or (server[1] if server else "") or "/"
    return f"{before.rstrip('/')}/proxy/{port}"


def jupyter_words(environment: Mapping[str, str], port: int, base_path: str) -> str:
    """Where to open the lab in Jupyter, or how to start it for that; "" outside of Jupyter."""
    base = jupyter_base(environment, port)
    if not base:
        return ""
    if base_path != base:
        return f"In Jupyter, with jupyter-server-proxy, start it with --base-path {base}"
    server = environment.get("JUPYTER_SERVER_URL", "")
    host = "/".join(server.split("/")[:3]) or "the address of the hub"
    return f"In Jupyter it is at {host}{base}/"


def in_container(marks: tuple[str, ...] = MARKS) -> bool:
    """Whether this is a container of Docker or Podman."""
    return any(Path(mark).exists() for mark in marks)


def container_warning(home: Path, mounts: str = MOUNTS) -> str:
    """That runs would be lost with a container, in a sentence; "" where a volume keeps them."""
    try:
        lines = Path(mounts).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    places = {Path(line.split()[1]) for line in lines if len(line.split()) > 1} - {Path("/")}
    if places & {home, *home.parents}:
        return ""
    return (
        f"{home} lies in the container, and is lost with it: start it with --volume lab:{home} "
        "to keep the runs"
    )


def on_wsl(release: str = "") -> bool:
    """Whether this is Linux inside of Windows."""
    return "microsoft" in (release or platform.release()).lower()


def wsl_problem(home: Path) -> str:
    """Why a home on a Windows drive is a bad one, in a sentence; "" for one of Linux itself."""
    if not re.match(r"/mnt/[a-z](/|$)", str(home)):
        return ""
    return (
        f"A home on Linux's own disk: {home} is on a Windows drive, where locks and permissions of "
        "WSL do not hold and every save is slow. Name one below ~ with --home."
    )


def place_problems(home: Path, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Print in what kind of place this is; what stands in the way of the lab there."""
    home = home.resolve()
    if in_container():
        print("Place    a container: serve with --host 0.0.0.0, and open the link with the token")
        if warning := container_warning(home):
            print(f"Place    {warning}")
    if on_wsl():
        print("Place    WSL: open the link in a browser of Windows")
    if tunnel := tunnel_of(environment, 8050):
        print(f"Place    over SSH; on your own computer: {tunnel}")
    if words := jupyter_words(environment, 8050, ""):
        print(f"Place    {words}")
    problem = wsl_problem(home) if on_wsl() else ""
    return [problem] if problem else []

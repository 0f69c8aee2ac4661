"""Find a Chromium for the browser tests; `python tests/browser/chromium.py install` gets one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

NAMED = "TRANSFORMER_LAB_CHROMIUM"
SHELL = "chromium-headless-shell"  # Chromium without its windows, which takes a tenth less time
PROGRAMS = (SHELL, "chromium", "chromium-browser", "google-chrome")
PACKAGES = ("fonts-liberation", "libatomic1")  # the last is for Playwright's driver
PLAYWRIGHT = (sys.executable, "-m", "playwright")
ITS_OWN = (
    "from playwright.sync_api import sync_playwright\n"
    "with sync_playwright() as playwright: print(playwright.chromium.executable_path)"
)

TOURED = 'try { localStorage.setItem("tour", "seen"); } catch {}'  # no tour for a page with this


class ChromiumError(RuntimeError):
    """The browser tests cannot run; the message says what to do."""


def find() -> Path | None:
    """The Chromium to test with: the one named, else the system's, else Playwright's download.

    Raises ChromiumError when TRANSFORMER_LAB_CHROMIUM names something that does not run.
    """
    if named := os.environ.get(NAMED):
        if not runs([named, "--version"]):
            raise ChromiumError(f"{NAMED} is {named}, which does not run: correct it or unset it.")
        return Path(named)
    for program in PROGRAMS:
        # On some systems `chromium-browser` is there but only prints how to get it.
        if (path := shutil.which(program)) and runs([path, "--version"]):
            return Path(path)
    own = playwrights_own()
    return own if own and runs([str(own), "--version"]) else None


def runs(command: Sequence[str]) -> bool:
    """Whether a command starts and succeeds."""
    try:
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def playwrights_own() -> Path | None:
    """Where Playwright keeps the Chromium it downloads, if it did.

    Asked in a process of its own, since a thread can have only one Playwright at a time.
    """
    answer = subprocess.run([sys.executable, "-c", ITS_OWN], capture_output=True, text=True)
    path = Path(answer.stdout.strip())
    return path if answer.returncode == 0 and path.is_file() else None


def ready() -> Path | None:
    """The Chromium to test with, when Playwright can drive it."""
    found = find()
    return found if found and runs([*PLAYWRIGHT, "--version"]) else None


def install() -> Path:
    """The Chromium that is there, or a new one. Raises ChromiumError."""
    if found := ready():
        return found
    for command in ways_to_install():
        print("+", *command, flush=True)
        done = subprocess.run(command, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
        if done.returncode == 0 and (found := ready()):
            return found
    if find():
        raise ChromiumError(
            "There is a Chromium, but Playwright does not start: `python -m playwright --version` "
            "says what it misses."
        )
    raise ChromiumError(
        "Chromium for the browser tests could not be installed: install it with your system's "
        f"package manager, or name a Chromium or Chrome program in {NAMED}."
    )


def ways_to_install() -> list[list[str]]:
    """Commands to try, one after the other: the system's package, then Playwright's download."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    ways = []
    if shutil.which("apt-get") and (is_root or shutil.which("sudo")):
        install = f"apt-get -q -y install --no-install-recommends {' '.join(PACKAGES)}"
        script = f"apt-get -q update; {install} {SHELL} || {install} chromium"
        ways.append([*([] if is_root else ["sudo", "-n"]), "sh", "-c", script])
    with_libraries = ["--with-deps"] if is_root and sys.platform == "linux" else []
    return [*ways, [*PLAYWRIGHT, "install", *with_libraries, "chromium"]]


def main(arguments: list[str]) -> int:
    """Install a Chromium, or say where one is; gives the exit code."""
    if arguments not in ([], ["install"]):
        print("use: python tests/browser/chromium.py [install]", file=sys.stderr)
        return 2
    try:
        found = install() if arguments else find()
    except ChromiumError as error:
        print(error, file=sys.stderr)
        return 1
    print(found or "no Chromium found: python tests/browser/chromium.py install")
    return 0 if found else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""The built package: it carries what it needs, and works from any folder without the checkout."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
LOOK_AROUND = """
import json
from transformer_lab import recipes
from transformer_lab.packaged import packaged
assets = sorted(path.name for path in packaged("assets").iterdir())
found = {"module": recipes.__file__, "recipes": sorted(recipes.load_recipes()), "assets": assets}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    offline = ("--no-deps", "--no-build-isolation", "--no-index")
    run([*PIP, "wheel", *offline, "--wheel-dir", str(folder), str(CHECKOUT)], folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    target = wheel.parent / "installed"
    offline = ("--no-deps", "--no-index")
    run([*PIP, "install", *offline, "--target", str(target), str(wheel)], wheel.parent)
    return target


def run(command: Sequence[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("folder", "pattern"),
    [
        ("recipes", "*.toml"),
        ("assets", "*"),
        ("docs/lessons", "*.md"),
        ("docs", "pcn_executive_summary.md"),
    ],
)
def test_the_wheel_carries_recipes_assets_and_lessons_as_they_are(
    wheel: Path, folder: str, pattern: str
) -> None:
    files = [path for path in (CHECKOUT / folder).rglob(pattern) if path.is_file()]
    assert files
    with zipfile.ZipFile(wheel) as archive:
        for path in files:
            inside = f"transformer_lab/_packaged/{path.relative_to(CHECKOUT).as_posix()}"
            assert archive.read(inside) == path.read_bytes()


def test_the_wheel_carries_every_module_and_nothing_else(wheel: Path) -> None:
    modules = {
        path.relative_to(CHECKOUT).as_posix() for path in CHECKOUT.glob("transformer_lab/**/*.py")
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name for name in names if name.endswith(".py")} == modules
    assert {name.split("/")[0] for name in names} == {"transformer_lab"}


def test_an_installed_lab_finds_its_recipes_and_assets_from_any_folder(
    installed: Path, tmp_path: Path
) -> None:
    alone = {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    found = json.loads(run([sys.executable, "-c", LOOK_AROUND], tmp_path, **alone))
    assert Path(found["module"]).is_relative_to(installed)
    assert found["recipes"] == sorted(path.stem for path in CHECKOUT.glob("recipes/*.toml"))
    assert found["assets"] == sorted(path.name for path in CHECKOUT.glob("assets/*"))


def test_an_installed_lab_brings_its_command(installed: Path, tmp_path: Path) -> None:
    (command,) = (installed / "bin").glob("transformer-lab*")
    alone = {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    answer = run([str(command), "runs", "--home", str(tmp_path / "home")], tmp_path, **alone)
    assert "transformer-lab train" in answer

"""The lower bounds of pyproject.toml are the versions that `make test-oldest` tests."""

import re
import tomllib
from pathlib import Path

from packaging.version import Version

ROOT = Path(__file__).parents[2]


def test_the_tested_oldest_versions_are_the_lower_bounds_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = dict(
        found.groups()
        for entry in project["dependencies"]
        if (found := re.match(r"([\w-]+)>=([\d.]+),<", entry))
    )
    lines = (ROOT / "tests" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    oldest = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {name: Version(oldest[name]) for name in oldest} == {
        name: Version(bounds[name]) for name in bounds
    }

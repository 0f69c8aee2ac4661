"""The architecture, as a list that fails when an import points the wrong way."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "transformer_lab"

# Each room may import only rooms above it, and the libraries named. A file that is not in a listed
# room may import nothing. This is the picture of docs/architecture.md.
ROOMS: dict[str, set[str]] = {
    "settings": set(),
    "packaged": set(),
    "glossary": set(),
    "text": {"numpy", "pooch", "charset_normalizer", "tiktoken", "rustbpe", "regex", "diskcache"},
    "pcn": {"torch"},
    "model": {"torch", "numpy"},
    "generation": {"torch", "numpy"},
    "training": {"torch", "numpy"},
    "inspection": {"torch", "numpy"},
    "recipes": set(),
    "experiments": {"torch", "numpy", "scipy"},
    "runs": {"torch", "safetensors", "filelock", "pydantic"},
    "exchange": {"torch", "safetensors"},
    "lab": {"torch", "numpy", "filelock", "psutil", "cachetools", "ray"},
    "ui": {
        "dash",
        "dash_bootstrap_components",
        "dash_ag_grid",
        "plotly",
        "flask",
        "werkzeug",
        "itsdangerous",
        "pydantic",
        "numpy",
    },
    "cli": {"torch", "waitress", "flask", "platformdirs"},
}
ORDER = list(ROOMS)

TABS = {
    "classroom", "compare", "data", "experiments", "finetune", "generate", "learn", "look", "runs",
    "train",
}  # fmt: skip

# Rooms inside of a room, and files beside them: what each may import of the same room. A file that
# is not named here may import no inner room.
INNER: dict[str, dict[str, set[str]]] = {
    "lab": {
        "text": {"text", "shelves"},
        "cost": {"cost", "device"},
        "queue": set(),
        "elsewhere": {"elsewhere", "queue", "device"},
        "coach": {"coach"},
        "training": {
            "training", "elsewhere", "coach", "cost", "text", "device", "home", "jobs", "queue",
            "shelves",
        },
        "looking": {"looking", "training", "text", "device", "jobs", "shelves"},
        "experiments": {
            "experiments", "looking", "training", "elsewhere", "cost", "queue", "text", "jobs",
            "shelves", "lab",
        },
        "common": {"training", "jobs", "shelves"},
        "classroom": {"classroom", "training", "common", "lab"},
        "writing": {"looking", "training", "jobs", "shelves"},
        "litter": {"home"},
        "lab": {
            "experiments", "looking", "training", "text", "writing", "common", "device", "home",
            "jobs", "litter", "queue", "shelves",
        },
    },
    "ui": {
        "charts": {"charts"},
        "web": {"web", "words", "ids"},
        "frame": {"web", "ids", "languages"},
        "server": {
            "charts", "web", "compare", "data", "experiments", "finetune", "generate", "learn",
            "look", "runs", "train", "frame", "ids", "moment_bar", "words", "address", "languages",
        },
        "address": {"form", "ids", "compare", "learn", "look", "languages"},
        "languages": set(),
        "results": {"results", "charts", "ids", "polling", "words", "web", "train"},
        **{
            tab: {
                tab, "charts", "form", "ids", "moment_bar", "polling", "terms", "words", "web",
                "train", "data", "results", "languages", "steps",
            }
            for tab in TABS - {"classroom"}
        },
        "classroom": {  # it leads to the page that each person has
            "classroom", "charts", "form", "ids", "polling", "words", "web", "server", "address",
        },
    },
}  # fmt: skip

# Each tab names its parts in its own ids.py, all of them those in ui/ids.py. What else may name the
# parts of a tab: files that speak of the whole page, and tabs whose buttons act on another tab.
NAMES_PARTS_OF = {
    "web": TABS,  # every value of the browser is checked
    "address": {"compare", "experiments", "look", "runs", "train"},
    "moment_bar": {"generate"},
    "learn": TABS - {"finetune"},  # a lesson's buttons press those of the page
    "train": {"generate", "learn"},  # so do the coach's
    "generate": {"train"},
    "runs": {"train"},
    "compare": {"train"},
}
DANGEROUS = {"pickle", "shelve", "marshal", "dill", "cloudpickle", "joblib"}


def imports(path: Path) -> list[str]:
    """Every module a file imports, wherever in it, those only for type checks too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written out"
            found += [f"{node.module}.{name.name}" for name in node.names]
    return found


def problems(package: Path) -> list[str]:
    return [
        f"{path.relative_to(package)} imports {module}"
        for path in sorted(package.rglob("*.py"))
        for module in imports(path)
        if not allowed(path.relative_to(package), module)
    ]


def allowed(path: Path, module: str) -> bool:
    room = path.parts[0].removesuffix(".py")
    if room == "__init__":
        return False
    top, *inside = module.split(".")
    if top != "transformer_lab":
        return top in sys.stdlib_module_names or top in ROOMS.get(room, set())
    if room not in ROOMS or not inside or inside[0] not in ROOMS:
        return False
    if path.parts[:2] == ("ui", "charts"):  # numbers in, figures out
        return inside[:2] == ["ui", "charts"]
    if inside[0] == room and room in INNER:
        return allowed_inside(path, inside[1:])
    return ORDER.index(inside[0]) <= ORDER.index(room)


def allowed_inside(path: Path, inside: list[str]) -> bool:
    """The same within one room."""
    inner = INNER[path.parts[0]]
    here = path.parts[1].removesuffix(".py")
    if not inside:
        return True
    if path.parts[0] == "ui" and inside[0] in TABS and inside[1:2] == ["ids"]:
        return inside[0] == here or inside[0] in NAMES_PARTS_OF.get(here, set())
    if here in inner:
        return inside[0] in inner[here]
    folders = {name for name in inner if (PACKAGE / path.parts[0] / name).is_dir()}
    return inside[0] not in folders


def circles(package: Path) -> list[list[str]]:
    """Groups of files that import one another, each of them by way of the others."""
    files = {
        ".".join(["transformer_lab", *path.relative_to(package).with_suffix("").parts]): path
        for path in package.rglob("*.py")
    }
    needs = {name: {found for found in map(_file_of(files), imports(path)) if found} - {name}
             for name, path in files.items()}  # fmt: skip
    reached = {name: _reached(name, needs) for name in needs}
    groups = {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in needs
        if name in reached[name]
    }
    return [list(group) for group in sorted(groups)]


def _file_of(files: dict[str, Path]):
    """A function from an imported name to the file that it stands in."""

    def file(module: str) -> str:
        parts = module.split(".")
        names = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
        return next((name for name in names if name in files), "")

    return file


def _reached(name: str, needs: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    ahead = set(needs[name])
    while ahead:
        one = ahead.pop()
        if one not in found:
            found.add(one)
            ahead |= needs[one]
    return found


def test_every_import_points_up():
    assert problems(PACKAGE) == []


def test_no_files_import_one_another_in_a_circle():
    assert circles(PACKAGE) == []


def test_the_check_finds_a_circle_of_files(tmp_path):
    (tmp_path / "one.py").write_text("from transformer_lab.two import b")
    (tmp_path / "two.py").write_text("from transformer_lab import three")
    (tmp_path / "three.py").write_text("def late():\n    import transformer_lab.one")
    names = ["transformer_lab.one", "transformer_lab.three", "transformer_lab.two"]
    assert circles(tmp_path) == [names]


def test_every_room_is_there():
    assert {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or p.is_dir()} >= set(ROOMS)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("model/gpt.py", "from transformer_lab.training import train"),
        ("model/gpt.py", "import dash"),
        ("settings.py", "import numpy"),
        ("attic/old.py", "from transformer_lab.model import GPT"),
        ("attic/old.py", "import torch"),
        ("ui/charts/loss.py", "from transformer_lab.lab.lab import Lab"),
        ("lab/text/texts.py", "from transformer_lab.lab.training.worker import Worker"),
        ("lab/jobs.py", "from transformer_lab.lab.looking import looks"),
        ("ui/form.py", "from transformer_lab.ui.train.layout import layout"),
        ("ui/runs/layout.py", "from transformer_lab.ui.look.parts import chart"),
        ("ui/look/text.py", "from transformer_lab.ui.train import ids as train_ids"),
        ("ui/form.py", "from transformer_lab.ui.train.ids import START"),
        ("training/trainer.py", "def late():\n    import transformer_lab.ui.server"),
    ],
)
def test_the_check_finds_an_import_that_points_the_wrong_way(tmp_path, file, line):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(line)
    assert len(problems(tmp_path)) == 1


def dangers(source: str) -> list[str]:
    """Ways in which a file could run what it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name.split(".")[0] in DANGEROUS]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in DANGEROUS:
            found.append(node.module or "")
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found.append("allow_pickle")
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
            found.append("torch.load")
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("eval", "exec"):
            found.append(ast.unparse(node.func))
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_nothing_that_is_read_is_run(path):
    assert dangers(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
    ],
)
def test_the_check_finds_what_would_run(source):
    assert len(dangers(source)) == 1

"""The script and the notebook of a run: they write what the lab writes, with no lab near them."""

import array
import ast
import copy
import importlib.util
import io
import itertools
import json
import os
import subprocess
import sys
import sysconfig
import zipfile

import nbclient
import nbformat
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sampling import sampled
from transformer_lab.exchange import (
    ExportRefusedError,
    notebook_text,
    script_text,
    standalone,
    write_bundle,
)
from transformer_lab.exchange.notebook import thinned
from transformer_lab.exchange.run_folder import read_manifest
from transformer_lab.exchange.script import standalone_tokenizer
from transformer_lab.exchange.source import gather
from transformer_lab.generation import SampleConfig, choose, write
from transformer_lab.model import ModelConfig
from transformer_lab.model.norms import NORM_PLACES, NORMS
from transformer_lab.recipes import Setup
from transformer_lab.settings import settings_of
from transformer_lab.text.tokenizers import TOKENIZERS, tokenizer_from_json

SETTINGS = settings_of(ModelConfig)
# Libraries know different versions of Unicode, so a character that some do not have yet is not cut
# alike by all.
ASSIGNED = st.characters(exclude_categories=("Cs", "Cn"))
CHANGES = [
    {},
    *[{setting.key: name} for setting in SETTINGS for name in setting.choices or ()],
    *[{setting.key: not setting.default} for setting in SETTINGS if setting.kind is bool],
    *[{"model.norm": norm, "model.norm_place": place} for norm in NORMS for place in NORM_PLACES],
    {"model.smear": 3},
    {"model.ngrams": 3, "model.ngram_rows": 50},
    *[{"data.tokenizer": name} for name in TOKENIZERS],
]
VARIANTS = list({str(Setup().with_values(change)): change for change in CHANGES[::-1]}.values())
ALWAYS = [{"model.feedforward": "gelu"}, *({"data.tokenizer": name} for name in TOKENIZERS)]
SOME = sampled(VARIANTS, 9, always=[one for one in VARIANTS if one in ALWAYS])
PROMPT = "The value of it is the"
GREEDY = {"prompt": PROMPT, "length": 30, "temperature": 0.0}
DRAWN = {"prompt": PROMPT, "length": 30, "temperature": 0.9, "top_k": 9, "top_p": 0.7, "seed": 7}
ARGUMENTS = ["--prompt", "漢", "--length=9", "--temperature=1.5", "--top-k=3", "--seed=5"]
DRIVER = """
import array, importlib.util, io, json, os, pathlib, runpy, sys, torch
from contextlib import redirect_stdout
try:
    import transformer_lab.model
    sys.exit("the lab is near")
except ModuleNotFoundError:
    pass
samples = json.loads(sys.argv[1])
for number, folder in enumerate(map(pathlib.Path, sys.argv[2:])):
    spec = importlib.util.spec_from_file_location(f"generate_{number}", folder / "generate.py")
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script
    spec.loader.exec_module(script)
    model = script.load(folder / "weights.safetensors", script.tokenizer)
    tokens = script.tokenizer.encode(samples[0]["prompt"])[:16]
    with (folder / "logits").open("wb") as file:
        array.array("f", model(torch.tensor([tokens])).flatten().tolist()).tofile(file)
    texts = ["".join(script.write(model, script.tokenizer, script.SampleConfig(**sample)))
             for sample in samples[:2]]
    told = io.StringIO()
    try:
        with redirect_stdout(told):
            sys.argv = ["generate.py", *samples[2]]
            runpy.run_path(str(folder / "generate.py"), run_name="__main__")
    except SystemExit as error:
        told.write(error.code)
    (folder / "texts.json").write_text(json.dumps([tokens, *texts, told.getvalue()]))
os.chdir(folder)
with redirect_stdout((folder / "notebook.txt").open("w", encoding="utf-8")):
    runpy.run_path("notebook.py")
"""


def alone(arguments, folder):
    """Run Python where PyTorch can be imported, but the lab cannot."""
    environment = {
        **os.environ,
        "PYTHONPATH": sysconfig.get_paths()["purelib"],
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def bundles(request, make_run, tmp_path_factory):
    """Every variant as a script with weights, and what each script has written by itself."""
    params = [getattr(one, "callspec", None) for one in request.session.items]
    asked = [one.params["variant"] for one in params if one and "variant" in one.params]
    variants = [one for one in VARIANTS if one in ALWAYS or one in asked]
    made = []
    for variant in variants:
        home = tmp_path_factory.mktemp("home")
        run = make_run(home, **variant)
        stream = io.BytesIO()
        write_bundle(run.folder, stream)
        with zipfile.ZipFile(stream) as archive:
            archive.extractall(home / "away")
        made.append((run, home / "away" / run.id))
    folders = [str(folder) for _, folder in made]
    (made[-1][1] / "notebook.py").write_text(runnable(made[-1][1]), encoding="utf-8")
    done = alone(["-c", DRIVER, json.dumps([GREEDY, DRAWN, ARGUMENTS]), *folders], folders[0])
    assert done.returncode == 0, done.stderr
    return {str(variant): bundle for variant, bundle in zip(variants, made, strict=True)}


def runnable(folder):
    """The code of the notebook in a bundle, as a script that prints what the notebook shows."""
    parts = code_of((folder / f"{folder.name}.ipynb").read_text(encoding="utf-8"))
    drawing = next(part for part in parts if part.startswith("TABLE"))
    parts[parts.index(drawing)] = drawing.replace("\nCurves(", "\ncurves = Curves(")
    return "\n".join([*parts, "print(curves._repr_svg_())", "print(len(trained), held_back)"])


def code_of(notebook):
    cells = json.loads(notebook)["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("variant", SOME, ids=str)
def test_a_script_writes_exactly_what_the_lab_writes(bundles, variant):
    run, folder = bundles[str(variant)]
    tokens, *texts, _ = json.loads((folder / "texts.json").read_text())
    expected = run.tokenizer.encode(PROMPT)[:16]
    assert tokens == expected.tolist()
    logits = array.array("f", (folder / "logits").read_bytes())
    ours = run.model(torch.tensor([tokens])).flatten()
    torch.testing.assert_close(torch.tensor(logits), ours, atol=1e-6, rtol=0)
    for sample, text in zip((GREEDY, DRAWN), texts, strict=True):
        assert text == "".join(write(run.model, run.tokenizer, SampleConfig(**sample)))


@pytest.mark.parametrize("variant", SOME, ids=str)
def test_a_script_needs_torch_at_most_with_numpy_and_runs_nothing_it_reads(bundles, variant):
    _, folder = bundles[str(variant)]
    tree = ast.parse((folder / "generate.py").read_text(encoding="utf-8"))
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in ("eval", "exec", "torch.load", "__import__")
    assert modules - sys.stdlib_module_names <= {"torch", "numpy"}
    assert not modules & {"pickle", "shelve", "marshal"}


def test_scripts_draw_tokens_as_the_lab_does():
    logits = 2 * torch.randn(50, generator=torch.Generator().manual_seed(1))
    one, other = torch.Generator().manual_seed(2), torch.Generator().manual_seed(2)
    for top_k, top_p, heat in itertools.product(
        (0, 1, 7, 99), (1.0, 0.9, 0.4, 0.01), (0.0, 0.8, 3)
    ):
        config = SampleConfig(top_k=top_k, top_p=top_p, temperature=heat)
        ours = [choose(logits, config, one) for _ in range(40)]
        assert ours == [standalone.draw(logits, config, other) for _ in range(40)]
        assert top_k == 1 or top_p < 0.5 or heat == 0 or len(set(ours)) > 1
    known = {"prompt", "length", "temperature", "top_k", "top_p", "seed"}
    assert {setting.name for setting in settings_of(SampleConfig)} == known


def test_scripts_have_no_name_that_is_unknown_or_unused(bundles):
    scripts = [str(folder / "generate.py") for _, folder in bundles.values()]
    command = ["-m", "ruff", "check", "--isolated", "--no-cache", "--select", "F", *scripts]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_script_holds_the_chosen_parts_and_not_the_others(bundles):
    _, folder = bundles[str({"model.feedforward": "gelu"})]
    script = (folder / "generate.py").read_text(encoding="utf-8")
    assert "activation=F.gelu" in script
    assert "F.relu" not in script
    assert "class LearnedPositions" in script
    assert "class RotaryPositions" not in script
    assert "numpy" not in script
    assert "class Characters" in script
    assert "class BytePairs" not in script


@pytest.mark.parametrize("variant", SOME, ids=str)
def test_a_script_obeys_its_command_line_and_says_what_is_wrong(bundles, variant):
    run, folder = bundles[str(variant)]
    *_, told = json.loads((folder / "texts.json").read_text())
    if run.setup.data.tokenizer in ("characters", "words"):
        assert told.startswith("漢It cannot write: The training text never contained '漢'")
    else:
        sample = SampleConfig(prompt="漢", length=9, temperature=1.5, top_k=3, seed=5)
        written = "".join(write(run.model, run.tokenizer, sample))
        assert told == f"漢{written}\n"


def test_a_script_does_not_mind_its_terminal_nor_a_closed_pipe(bundles):
    _, folder = next(b for b in bundles.values() if b[0].setup.data.tokenizer == "bytes")
    with subprocess.Popen(
        [sys.executable, "-m", "generate", "--prompt", "漢", "--length", "200"],
        cwd=folder,
        env=os.environ | {"PYTHONIOENCODING": "cp1252", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout.read(6) == rb"\u6f22"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_script_refuses_a_temperature_that_cannot_be_divided_by():
    sample = SampleConfig(prompt="a", length=1)
    object.__setattr__(sample, "temperature", 1e-40)  # in a script nothing checks it before
    with pytest.raises(ValueError, match="0 or at least 1e-06"):
        next(standalone.write(None, standalone.Bytes(), sample))


@given(st.text(ASSIGNED) | st.text("a 'stld\n\t\x1c\x85\u2003é\uff11½'"))
@settings(max_examples=60, deadline=None)
def test_every_text_has_the_same_tokens_in_a_script_as_here(text):
    for stored in stored_tokenizers():
        ours, made = tokenizer_from_json(stored), standalone_tokenizer(stored)
        words = ast.literal_eval(made.vocabulary) if made.vocabulary else None
        theirs = made.kind(words) if words is not None else made.kind()
        readable = text
        while ours.unknown(readable):  # leaving a sign out can join two words to a new one
            readable = ours.known(readable)
        assert theirs.encode(readable) == ours.encode(readable).tolist()
        assert theirs.pieces == [ours.token_bytes(i) for i in range(ours.vocabulary_size)]


def stored_tokenizers(made={}):  # noqa: B006 - made once, on first use
    if not made:
        sample = (
            "It's the cat's house, they'll say: 12 mice, l'été ½ \uff11 漢字!\n\n   The house\t\n"
            * 9
        )
        kinds = {name: kind for name, kind in TOKENIZERS.items() if name != "gpt2"}
        made |= {name: kind.learn(sample, 300).to_json() for name, kind in kinds.items()}
    return made.values()


def test_gpt2s_tokens_are_the_same_in_a_script(text):
    stored = TOKENIZERS["gpt2"].learn("", 0).to_json()
    made = standalone_tokenizer(stored)
    theirs = made.kind(ast.literal_eval(made.vocabulary))
    strange = text[:5000] + " Ünïcödé 漢字 🎉🎉 don't  \n\n\t x\u00a0y 3½² \r\n"
    assert theirs.encode(strange) == tokenizer_from_json(stored).encode(strange).tolist()


def test_a_tokenizer_that_scripts_do_not_know_is_refused(monkeypatch):
    monkeypatch.setitem(TOKENIZERS, "runes", TOKENIZERS["bytes"])
    with pytest.raises(ExportRefusedError, match="runes"):
        standalone_tokenizer({"kind": "runes"})


def test_the_name_of_a_run_cannot_become_code(make_run, tmp_path):
    plain = read_manifest(make_run(tmp_path).folder)
    manifest = copy.deepcopy(plain) | {"id": '"""\nimport pdb\n"""'}
    manifest["setup"]["sample"]["prompt"] = '\'); import pdb #\n"""'
    trees = [ast.parse(script_text(each)) for each in (plain, manifest)]
    statements = [[type(node).__name__ for node in tree.body] for tree in trees]
    assert statements[0] == statements[1]
    imported = [
        name.name for tree in trees for name in ast.walk(tree) if isinstance(name, ast.alias)
    ]
    assert "pdb" not in imported


# --- the gathering of source ---------------------------------------------------------------------

PARTS = """
from dataclasses import dataclass
from math import pi
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformer_lab.made_up_config import Shape

# How it turns.
TURN = 2 * pi  # a whole one


def big(shape: "Shape") -> float:
    return TURN * shape.twice


def small(shape: "Shape") -> float:
    return UNUSED


UNUSED = 0.0
SIZES = {
    "big": big,
    "small": small,
}


class Round: ...


class Square: ...


Form = Round | Square
"""
CONFIG = '''
from dataclasses import dataclass

from transformer_lab.made_up_parts import SIZES
from transformer_lab.settings import Config, choice, knob


@dataclass(frozen=True, kw_only=True)
class Shape(Config):
    """A shape."""

    GROUP = "shape"

    size: str = choice("big", SIZES, "Size", "How large.")
    width: int = knob(3, 1, 9, "Width", "How wide.")

    @property
    def twice(self) -> int:
        return self._times(2)

    def _times(self, number: int) -> int:
        return number * self.width

    @property
    def never(self) -> int:
        return self.width
'''
START = """
from transformer_lab.made_up_config import Shape
from transformer_lab.made_up_parts import SIZES, Form, Round


def start(shape: Shape) -> float:
    form: Form = Round()
    return SIZES[shape.size](shape)
"""


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """Modules that look like some of the lab's."""

    def module(name, source):
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(f"transformer_lab.{name}", path)
        made = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, made.__name__, made)
        spec.loader.exec_module(made)
        return made

    return module


def test_what_is_gathered_is_all_that_is_needed_and_no_more(made_up):
    made_up("made_up_parts", PARTS)
    shape = made_up("made_up_config", CONFIG).Shape(width=5)
    start = made_up("made_up_start", START).start
    program = gather([start], [shape])
    assert [section.module.split("_")[-1] for section in program.sections] == [
        "parts",
        "config",
        "start",
    ]
    source = "\n".join([program.imports, *(section.source for section in program.sections)])
    assert "# How it turns.\nTURN = 2 * pi  # a whole one" in source
    assert 'SIZES = {\n    "big": big,\n}' in source
    assert "Form = Round\n" in source
    assert "width: int = 5" in source
    assert "def twice" in source
    assert "def _times" in source
    for left_out in ("small", "UNUSED", "Square", "never", "knob", "TYPE_CHECKING"):
        assert left_out not in source


def test_two_things_of_one_name_are_not_mixed_up(made_up):
    made_up("made_up_one", "def helper():\n    return 1\n\n\ndef first():\n    return helper()\n")
    both = made_up(
        "made_up_two",
        "from transformer_lab.made_up_one import first\n\n\n"
        "def helper():\n    return first()\n\n\ndef start():\n    return helper()\n",
    )
    with pytest.raises(ValueError, match=r"helper means one thing in .*made_up_"):
        gather([both.start], [])


# --- the notebook --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def notebook(make_run, tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("notebook"), steps=1000)
    (run.folder / "weights.safetensors").write_bytes(
        (run.folder / "checkpoints/step-00001000/weights.safetensors").read_bytes()
    )
    return run, notebook_text(run.folder)


def test_a_notebook_is_valid_and_names_every_setting(notebook):
    run, text = notebook
    book = nbformat.reads(text, as_version=4)
    nbformat.validate(book)
    assert f"# {run.id}" in book.cells[0].source
    assert book.cells[0].source.count("\n| ") == 1 + len(run.setup.values())


def test_the_code_of_a_notebook_runs_alone_and_shows_curves_and_text(bundles):
    run, folder = list(bundles.values())[-1]
    told, sample = (folder / "notebook.txt").read_text(encoding="utf-8"), run.setup.sample
    written = "".join(write(run.model, run.tokenizer, sample))
    assert told.startswith(f"{sample.prompt}{written}\n<svg ")
    curves, counts = told.removeprefix(f"{sample.prompt}{written}\n").split("</svg>\n")
    assert curves.count("<polyline") == 2
    assert counts == "12 [(5.0, 3.5), (10.0, 3.5)]\n"


def test_a_notebook_holds_some_of_very_many_steps_and_every_validation(notebook):
    table = next(part for part in code_of(notebook[1]) if part.startswith("TABLE"))
    lines = table.split('"""')[1].splitlines()[2:]
    assert 400 <= len(lines) <= 800
    assert lines[0].startswith("1,4,")
    assert lines[-1].startswith("1000,")
    assert len([line for line in lines if line.endswith(",3.5")]) == 200


def test_a_notebook_does_not_grow_with_the_run(make_run, tmp_path):
    run = make_run(tmp_path, steps=12_000)  # with 2,400 validations
    lines = list(thinned(run.folder, ("step", "train_loss", "validation_loss")))
    assert 700 < len(lines) < 900
    assert 300 < len([line for line in lines if line.endswith(",3.5\n")]) <= 500


def test_texts_of_a_run_stay_text_in_a_notebook(make_run, tmp_path):
    run = make_run(tmp_path, **{"sample.prompt": "<script>|`x`\n| a |"})
    book = nbformat.reads(notebook_text(run.folder), as_version=4)
    table = book.cells[0].source
    assert "<script>" not in table
    assert table.count("\n| ") == 1 + len(run.setup.values())


@pytest.mark.slow
def test_jupyter_runs_a_notebook(notebook):
    run, text = notebook
    book = nbformat.reads(text, as_version=4)
    client = nbclient.NotebookClient(
        book, timeout=300, resources={"metadata": {"path": run.folder}}
    )
    client.execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    assert any("image/svg+xml" in output.get("data", {}) for output in outputs)

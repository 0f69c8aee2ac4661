"""Runs that come home from a computer that does not share the lab's home."""

import contextlib
import io
import json
import zipfile

import pytest

from small import step
from transformer_lab.lab.elsewhere.proxy import RunProxy
from transformer_lab.lab.elsewhere.transfer import (
    packed,
    packed_files,
    pieces,
    unpack,
    unpack_files,
)
from transformer_lab.runs.control import ask, reachable
from transformer_lab.runs.database import RunWriter
from transformer_lab.runs.run import Run
from transformer_lab.runs.store import RunStore


def save(folder, number: int) -> None:
    place = folder / "checkpoints" / f"step-{number:08}"
    place.mkdir(parents=True)
    (place / "weights.safetensors").write_bytes(b"%d" % number)
    (place / "meta.json").write_text("{}")


@pytest.fixture
def away(tmp_path):
    """A run in training elsewhere, with two steps and a save: its writer."""
    store = RunStore(tmp_path / "away")
    manifest = {"recipe": "first", "setup": {"train": {"steps": 100}}}
    with contextlib.closing(store.create("first", manifest)) as writer:
        writer.append(step(1))
        writer.append(step(2))
        writer.flush()
        save(writer.folder, 2)
        (writer.folder / "moments").mkdir()
        (writer.folder / "moments" / "1.safetensors").write_bytes(b"1")
        yield writer


def names(data: bytes) -> set[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return set(archive.namelist())


def test_a_run_comes_home_in_transfers_that_hold_only_what_is_new(tmp_path, away):
    home = tmp_path / "home"
    other = RunStore(home).create("first", {"recipe": "first", "setup": {}})
    other.close()
    proxy = RunProxy(home, away.folder.name, resumed=False)
    run = Run(proxy.folder)
    proxy.take(packed(away.folder, proxy.known))
    assert run.id == "first-2"  # first-1 is another one here
    assert (run.manifest["id"], run.manifest["order"], run.steps) == ("first-2", 2, 100)
    assert [point.step for point in run.latest(9)] == [1, 2]
    assert [path.name for path in run.checkpoints()] == ["step-00000002"]
    assert run.is_held()

    run.describe(title="Mine")
    away.append(step(3))
    away.flush()
    save(away.folder, 3)
    (away.folder / "checkpoints" / "step-00000002" / "meta.json").unlink()
    (away.folder / "checkpoints" / "step-00000002" / "weights.safetensors").unlink()
    (away.folder / "moments" / "1.safetensors").rename(away.folder / "moments" / "3.safetensors")
    (away.folder / "checkpoints" / ".staging-1").mkdir()
    (away.folder / "checkpoints" / ".staging-1" / "meta.json").write_text("half of it")
    data = packed(away.folder, proxy.known)
    assert names(data) == {
        "metrics.sqlite",
        "have.json",
        "moments/3.safetensors",
        "checkpoints/step-00000003/weights.safetensors",
        "checkpoints/step-00000003/meta.json",
    }
    with run.reading() as read_meanwhile:
        proxy.take(data)
        assert read_meanwhile.execute("SELECT max(step) FROM steps").fetchone() == (3,)
    assert [path.name for path in run.checkpoints()] == ["step-00000003"]
    assert [path.name for path in (run.folder / "moments").iterdir()] == ["3.safetensors"]
    assert run.about.title == "Mine"
    assert proxy.known == sorted({*pieces(away.folder), "about.json"})
    assert not [path for path in proxy.folder.iterdir() if path.name.startswith(".")]

    assert reachable(proxy.folder)
    ask(proxy.folder, "learning_rate", 0.5)
    assert [(request.do, request.value) for request in proxy.asked()] == [("learning_rate", 0.5)]
    proxy.close()
    assert not run.is_held()
    assert not reachable(proxy.folder)


def test_a_run_goes_out_whole_and_can_be_written_there(tmp_path, away):
    unpack(packed(away.folder), make(tmp_path / "there" / "first-1"))
    with contextlib.closing(RunWriter(tmp_path / "there" / "first-1")) as writer:
        writer.append(step(3))
    assert [point.step for point in Run(tmp_path / "there" / "first-1").latest(9)] == [1, 2, 3]


def test_an_audit_of_a_run_that_trains_elsewhere_stays_unless_its_step_is_taken_back(
    tmp_path, away
):
    proxy = RunProxy(tmp_path / "home", away.folder.name, resumed=False)
    with contextlib.closing(proxy):
        proxy.take(packed(away.folder, proxy.known))
        run = Run(proxy.folder)
        first, second = (
            (n, json.dumps({"outcome": "passed", "sentence": f"At {n}."})) for n in (1, 2)
        )
        for found in (first, second):
            run.add_event("audit", *found)
        away.append(step(3))
        away.flush()
        for _ in range(2):
            proxy.take(packed(away.folder, proxy.known))
            assert [point.step for point in run.latest(9)] == [1, 2, 3]
            assert run.events("audit") == [first, second]
        away.rewind(1)
        proxy.take(packed(away.folder, proxy.known))
        assert run.events("audit") == [first]


def make(folder):
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("name", ["../outside", "/outside", "checkpoints/../../outside", ".lock"])
def test_what_leads_out_of_a_folder_is_not_unpacked(tmp_path, name):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(ValueError, match="does not belong in a transfer"):
        unpack(stream.getvalue(), make(tmp_path / "run"))
    assert [path.name for path in tmp_path.rglob("*")] == ["run"]


def test_the_texts_of_a_training_go_with_it(lab, tmp_path):
    added = lab.texts.add(b"To be, or not to be. " * 50, "Own", "test")
    (lab.home / "data").mkdir(exist_ok=True)
    (lab.home / "data" / "mine.txt").write_text("Or to take arms. " * 50)
    files = lab.texts.files_of([added.id, "mine", "python_docs", "nowhere"])
    unpack_files(packed_files({name: str(path) for name, path in files.items()}), tmp_path / "new")
    other = type(lab)(tmp_path / "new")
    with contextlib.closing(other):
        for name in (added.id, "mine"):
            assert other.texts.corpus(name).text == lab.texts.corpus(name).text

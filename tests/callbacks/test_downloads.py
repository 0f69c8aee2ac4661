"""Runs leave as plain downloads and come in as streamed uploads, through the server."""

import ast
import errno
import io
import json
import zipfile

import pytest

from transformer_lab.exchange import write_archive
from transformer_lab.exchange.forms import FORMS
from transformer_lab.ui.web.downloads import BRING_IN

GPT2_SHAPED = {
    "model.feedforward": "gelu",
    "model.positions": "learned",
    "model.qk_norm": False,
    "model.ngrams": "1",
    "model.smear": "0",
}


@pytest.fixture
def gpt2(page, lab, until):
    """A page after a run whose architecture is GPT-2's."""
    page.set(GPT2_SHAPED)
    page.click("start")
    until(lambda: lab.trainings.current is not None and lab.trainings.current.ended)
    assert lab.trainings.current.status.state == "finished"
    lab.runs.refresh()
    return page


def fetched(page, run_id, name):
    return page.client.get(f"/download/{run_id}/{name}")


def brought_in(page, data, name="mine.zip", **headers):
    return page.client.post(
        f"{BRING_IN}?name={name}",
        data=data,
        content_type="application/octet-stream",
        headers=headers,
    )


def test_a_run_that_was_not_fine_tuned_says_that_it_has_no_adapter(gpt2, lab):
    answer = fetched(gpt2, lab.trainings.current.status.run_id, "adapter.zip")
    assert answer.status_code == 409
    assert "only a run that was fine-tuned by LoRA has one" in answer.get_data(as_text=True)


@pytest.mark.parametrize("name", [form for form in FORMS if form != "adapter.zip"])
def test_a_run_is_taken_away_in_every_form(gpt2, lab, name):
    run_id = lab.trainings.current.status.run_id
    answer = fetched(gpt2, run_id, name)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    data = answer.get_data()
    assert run_id in answer.headers["Content-Disposition"]
    assert "attachment" in answer.headers["Content-Disposition"]
    if name.endswith(".zip"):
        assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None
    elif name.endswith(".py"):
        ast.parse(data.decode())
    elif name.endswith(".ipynb"):
        assert json.loads(data)["nbformat"] == 4
    else:
        assert len(data.decode().splitlines()) == 41


def test_a_run_that_leaves_comes_in_under_a_new_name_and_writes_the_same(gpt2, lab, until):
    run_id = lab.trainings.current.status.run_id
    data = fetched(gpt2, run_id, "run.zip").get_data()
    answer = brought_in(gpt2, data, f"{run_id}.zip")
    assert answer.status_code == 200, answer.get_data(as_text=True)
    arrived = answer.get_json()["id"]
    assert arrived != run_id
    assert lab.runs.open(arrived).since()[0] == lab.runs.open(run_id).since()[0]
    old, new = lab.models.snapshot(run_id), lab.models.snapshot(arrived)
    assert all((old.weights[name] == new.weights[name]).all() for name in old.weights)
    gpt2.values["run-imported", "data"] = {"id": arrived}
    gpt2.fire("run-deleted.data", "run-imported.data")
    assert arrived in gpt2.text("runs-message")
    lab.trainings.extend(arrived, 3)
    until(
        lambda: (
            lab.trainings.current.status.run_id == f"{arrived}-more-1"
            and lab.trainings.current.ended
        )
    )
    assert lab.trainings.current.status.state == "finished"


def test_a_model_that_is_not_gpt2s_is_refused_to_hugging_face_with_the_reason(trained, lab):
    run_id = lab.trainings.current.status.run_id
    answer = fetched(trained, run_id, "huggingface.zip")
    assert answer.status_code == 409
    assert "Positions" in answer.get_data(as_text=True)
    lab.runs.refresh()
    trained.values["tabs", "active_tab"] = "Runs"
    trained.values["runs", "selectedRows"] = [{"id": run_id}]
    trained.fire("runs-picked.data", "runs.selectedRows")
    trained.fire("runs-seen.data", "runs-picked.data")
    offered = trained.text("detail-away")
    assert "Not this model." in offered
    assert "Positions" in offered


@pytest.mark.parametrize(
    "path",
    [
        "/download/no-such-run/run.zip",
        "/download/quick-start-1/secrets.txt",
        "/download/../run.zip",
        "/download/%2e%2e%2fruns/run.zip",
        "/download/quick-start-1/..%2frun.json",
        "/download/quick-start-1/run.json",
        f"/download/{'x' * 5000}/run.zip",
        "/download/latest/run.zip",
    ],
)
def test_only_runs_and_only_their_forms_are_served(visited, path):
    answer = visited.client.get(path)
    page = answer.status_code == 200 and b"Transformer Lab" in answer.get_data()
    assert page or answer.status_code == 404
    assert "Content-Disposition" not in answer.headers


def test_a_run_that_is_deleted_while_it_is_written_is_reported(gpt2, lab, monkeypatch):
    run_id = lab.trainings.current.status.run_id

    def slow(folder, stream):
        write_archive(folder, stream)
        lab.runs.delete(folder.name)
        write_archive(folder, stream)

    for write in (slow, lambda folder, stream: (folder / "run.json").read_bytes()):
        monkeypatch.setitem(FORMS, "run.zip", write)
        answer = fetched(gpt2, run_id, "run.zip")
        assert answer.status_code in (404, 409)
        assert run_id in answer.get_data(as_text=True)


def test_a_download_is_not_for_other_sites(gpt2, lab):
    run_id = lab.trainings.current.status.run_id
    answer = gpt2.client.get(f"/download/{run_id}/run.zip", headers={"Host": "evil.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("mine.zip", b""),
        ("mine.zip", b"PK\x05\x06" + bytes(18)),
        ("mine.zip", b"not a zip at all"),
        ("..%2fmine.zip", b"x"),
        ("a%5Cb.zip", b"x"),
    ],
)
def test_what_is_no_run_is_refused_in_a_sentence_and_leaves_nothing(visited, name, data):
    answer = brought_in(visited, data, name)
    assert answer.status_code == 400
    assert answer.get_json()["error"].endswith(".")
    listed = visited.client.get("/_dash-layout")
    assert listed.status_code == 200


def test_a_run_comes_in_only_from_this_page(visited):
    assert brought_in(visited, b"x", Origin="http://evil.example").status_code == 403
    answer = visited.client.post(BRING_IN, data=b"x", content_type="text/plain")
    assert answer.status_code == 415


def no_room(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_run_whose_disk_is_full_is_taken_away_whole(page, lab, until, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("transformer_lab.lab.training.saves.save_checkpoint", no_room)
        page.click("start")
        until(lambda: lab.trainings.current is not None and lab.trainings.current.unsaved)
    run_id = lab.trainings.current.status.run_id
    assert "make room" in page.text("state") + str(page.tick())
    arrived = brought_in(page, fetched(page, run_id, "run.zip").get_data()).get_json()["id"]
    assert lab.models.snapshot(arrived).step == 40
    lab.trainings.stop()
    until(lambda: lab.trainings.current.ended)
    assert lab.trainings.current.status.state == "finished"


def test_without_room_for_temporary_files_there_is_a_sentence(gpt2, lab, monkeypatch):
    monkeypatch.setattr("tempfile._get_candidate_names", no_room)
    for answer in (
        fetched(gpt2, lab.trainings.current.status.run_id, "run.zip"),
        fetched(gpt2, lab.trainings.current.status.run_id, "metrics.csv"),
    ):
        assert answer.status_code in (409, 507)
        assert "No space left on device" in answer.get_data(as_text=True)

"""What is kept in memory: all of it within one bound, and nothing that nobody needs."""

import gc
import platform
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import replace
from functools import partial

import numpy as np
import psutil
import pytest
import torch

from transformer_lab.generation import SampleConfig, entropy, shaped
from transformer_lab.inspection.distribution import KEPT, Top, distribution
from transformer_lab.lab.jobs import Jobs
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.looking import stored_models
from transformer_lab.lab.looking.stored_models import StoredModels
from transformer_lab.lab.shelves import Shelves, bytes_of, give_back
from transformer_lab.recipes import Setup
from transformer_lab.settings import ConfigError

SETUP = Setup().with_values(
    {
        "data.corpus": "python_docs",
        "model.layers": 1,
        "model.heads": 2,
        "model.embedding_dim": 16,
        "model.sequence_length": 16,
        "train.batch_size": 2,
        "train.evaluation_batches": 1,
        "train.threads": 1,
    }
)
PROMPT = SampleConfig(prompt="The ", length=8)


@pytest.fixture
def room():
    """Bytes that the lab of a test keeps."""
    return 10_000_000


@pytest.fixture
def lab(tmp_path, monkeypatch, room):
    monkeypatch.setattr("transformer_lab.lab.lab.Shelves", lambda: Shelves(room))
    lab = Lab(tmp_path)
    lab.trainings.initialize(SETUP)
    assert lab.trainings.wait(60)
    yield lab
    lab.close()


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def test_all_shelves_share_one_bound_and_what_was_wanted_least_lately_goes():
    shelves, gone = Shelves(1000), []
    one, other = shelves.shelf(gone.append), shelves.shelf(gone.append)
    one.keep("a", "first", 400)
    other.keep("a", "second", 400)
    assert one.find("a") == "first"  # wanted again
    one.keep("b", "third", 400)
    assert gone == ["second"]
    assert other.find("a") is None
    assert (one.find("a"), one.find("b")) == ("first", "third")
    assert shelves.nbytes == 800
    one.drop("a")
    assert shelves.nbytes == 400
    other.keep("huge", "newest", 10**9)
    assert other.find("huge") == "newest"  # it stays, alone
    assert one.find("b") is None
    assert shelves.nbytes <= 1000


def test_a_bound_follows_the_computer():
    assert 256_000_000 <= Shelves().room <= 2_000_000_000


def test_bytes_are_counted_wherever_they_are():
    array, tensor = np.zeros(1000), torch.zeros(1000)
    snapshotlike = {"a": tensor, "b": [array, (tensor, "x" * 1000)]}
    assert 17_000 <= bytes_of(snapshotlike) <= 19_000
    step = Top.of(torch.zeros(5000), 1)
    assert bytes_of([step] * 10) >= 10 * 2 * 4 * KEPT


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries do it by themselves")
def test_memory_that_was_let_go_is_given_back():
    process = psutil.Process()
    many = [np.ones(8000) for _ in range(2000)]  # 64 kB each: too small to be mapped
    above = many.pop()
    full = process.memory_info().rss
    many.clear()
    give_back()
    assert process.memory_info().rss < full - 90_000_000
    assert above.sum() == 8000


ROUNDS_OF_A_STEP = """
import resource
import numpy as np
from transformer_lab.lab.shelves import keep_freed

if {kept}:
    keep_freed()

def step():
    return [np.ones(size * 1000) for size in range(1, 150)]  # 8 kB to 1.2 MB

for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries do it by themselves")
def test_what_a_step_frees_is_there_for_the_next_without_asking_the_system():
    faults = [
        int(subprocess.check_output([sys.executable, "-c", ROUNDS_OF_A_STEP.format(kept=kept)]))
        for kept in (False, True)
    ]
    assert faults[0] > 10_000  # pages, of 22,000 that a step writes to
    assert faults[1] < 100


def test_storms_of_threads_keep_to_the_bound():
    shelves = Shelves(10_000)
    shelf = shelves.shelf()

    def work(seed):
        for number in range(300):
            shelf.get((seed * number) % 50, partial(np.zeros, number % 90))
            shelf.drop(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shelves.nbytes <= 10_000
    assert shelves.nbytes == sum(item.nbytes for item in shelves.items.values())


@pytest.mark.parametrize("size", [5, KEPT, KEPT + 1, 5000])
@pytest.mark.parametrize("spread", [0.0, 2.0, 30.0])
def test_the_likeliest_and_sums_of_the_rest_are_enough_for_what_is_shown(size, spread):
    generator = torch.Generator().manual_seed(size)
    logits = spread * torch.randn(size, generator=generator)
    chosen = int(logits.argmin())  # one that is not among the likeliest
    top = Top.of(logits, chosen)
    assert top.vocabulary_size == size
    again = top.spread()
    exact, found = logits.softmax(0), again.softmax(0)
    known = torch.from_numpy(top.tokens).long()
    torch.testing.assert_close(found[known], exact[known], rtol=1e-4, atol=1e-7)
    assert top.share(chosen) == pytest.approx(float(exact[chosen]), rel=1e-4, abs=1e-9)
    assert entropy(found) == pytest.approx(entropy(exact), abs=0.02)
    for settings in ({"temperature": 0.5}, {"temperature": 2.0}, {"top_k": 40, "top_p": 0.9}):
        config = SampleConfig(**settings)
        one, other = (distribution(x, config, chosen) for x in (logits, again))
        torch.testing.assert_close(other.chances[known], one.chances[known], rtol=0.02, atol=1e-4)
        assert other.entropy_drawn == pytest.approx(one.entropy_drawn, abs=0.05)
    if size <= KEPT:
        assert torch.equal(again, logits)
        assert torch.equal(shaped(again, PROMPT), shaped(logits, PROMPT))


def test_a_step_takes_little_memory_however_many_tokens_there_are():
    top = Top.of(torch.randn(50_257, generator=torch.Generator().manual_seed(1)), 7)
    assert bytes_of(top) < 4000
    assert bool(np.isin(7, top.tokens))


def test_logits_that_are_no_numbers_are_borne():
    top = Top.of(torch.full((1000,), torch.nan), 3)
    assert top.vocabulary_size == 1000
    assert len(top.spread()) == 1000


def test_probability_and_entropy_of_what_is_written_are_exact(lab):
    writing = lab.writings.start(lab.models.snapshot(), PROMPT)
    assert writing.job.wait(60)
    exact = lab.models.snapshot().model()(torch.from_numpy(writing.prompt).long()[None])[0, -1]
    first = writing.at_place(0)
    assert first.probability == pytest.approx(float(exact.softmax(0)[first.token]), rel=1e-4)
    assert first.entropy == pytest.approx(entropy(exact.detach().softmax(0)), rel=1e-4)


@pytest.mark.parametrize("room", [200_000])
def test_writings_beyond_the_bound_go_with_all_they_hold(lab):
    held, names = [], []
    for _ in range(12):
        writing = lab.writings.start(lab.models.snapshot(), replace(PROMPT, length=20))
        assert writing.job.wait(60)
        held.append(weakref.ref(writing.job))
        names.append(writing.id)
        del writing
    until(lambda: not lab.jobs._jobs)
    gc.collect()
    assert lab.writings.find(names[0]) is None
    assert lab.writings.find(names[-1])
    assert held[0]() is None
    assert held[-1]() is not None


@pytest.mark.parametrize("room", [100_000])
def test_a_writing_that_has_to_go_stops(lab):
    first = lab.writings.start(lab.models.snapshot(), replace(PROMPT, length=20_000))
    lab.writings.start(lab.models.snapshot(), PROMPT)
    assert first.job.wait(60)
    assert first.job.stopped


def test_weights_of_a_training_are_let_go_when_newer_ones_were_wanted(lab, monkeypatch):
    monkeypatch.setattr(stored_models, "LIVE", 2)
    newest = lab.models.snapshot()
    seen, first = [], None
    for step in range(5):
        weights = {name: weight.clone() for name, weight in newest.weights.items()}
        snapshot = replace(newest, step=step, weights=weights)
        writing = lab.writings.start(snapshot, PROMPT)
        assert writing.job.wait(60)
        first = first or writing
        seen.append(weakref.ref(snapshot))
        del snapshot, weights
    gc.collect()
    assert [ref() is not None for ref in seen] == [False, False, False, True, True]
    with pytest.raises(ConfigError, match="weights of step 0 are no longer in memory"):
        lab.writings.branch(first, 2, 5, PROMPT)
    assert first.snapshot.step == 0
    assert lab.writings.branch(writing, 2, 5, PROMPT)


def test_weights_read_from_disk_are_shared_and_let_go(lab):
    lab.trainings.start(SETUP.with_values({"train.steps": 3}))
    until(lambda: lab.trainings.current.ended)
    run = lab.runs.open(lab.trainings.current.status.run_id)
    models = StoredModels(Shelves(1))
    one = models.newest(run)
    assert models.newest(run) is one
    gone = weakref.ref(one)
    del one
    models.moment(run, 1)
    gc.collect()
    assert gone() is None


def test_ended_jobs_are_found_within_the_bound():
    jobs = Jobs(shelves=Shelves(50_000))
    first, *_, last = [jobs.start("numbers", iter([np.zeros(1000)])) for _ in range(10)]
    until(lambda: not jobs._jobs)
    assert jobs.find(first.id) is None
    assert jobs.find(last.id) is last
    silent = jobs.start("nobody asks", iter([1]), found=False)
    until(lambda: not jobs._jobs)
    assert jobs.find(silent.id) is None
    jobs.close()


def tensors_on_the_cpu():
    """All that Python knows of."""
    return [
        one
        for one in gc.get_objects()
        if issubclass(type(one), torch.Tensor) and one.device.type == "cpu"
    ]


@pytest.mark.parametrize("stopped", [False, True])
def test_a_training_that_has_ended_keeps_one_copy_of_its_weights(lab, stopped):
    gc.collect()
    others = {one.data_ptr() for one in tensors_on_the_cpu()}  # what tests before this one left
    lab.trainings.start(
        SETUP.with_values({"train.steps": 10_000 if stopped else 12, "train.optimizer": "muon"})
    )
    until(lambda: lab.trainings.current.ended or lab.trainings.current.status.step >= 3)
    run = lab.trainings.current
    if stopped:
        lab.trainings.stop()
    until(lambda: run.ended and lab.trainings.wait(60))
    lab.writings.start(lab.models.snapshot(), PROMPT).job.wait(60)
    until(lambda: not lab.jobs._jobs)
    gc.collect()
    shape = run.snapshot.weights["embedding.weight"].shape
    held = [one for one in tensors_on_the_cpu() if one.shape == shape]
    wanted = [one for one in run.snapshot.weights.values() if one.shape == shape]
    assert {one.data_ptr() for one in held} - others == {one.data_ptr() for one in wanted} - others
    assert lab.models.learned_from(run.status.run_id)[0].name == "python_docs"
    assert lab.runs.view(run.status.run_id).parameters == run.parameters
    lab.trainings.extend(run.status.run_id, 2)
    until(lambda: lab.trainings.current is not run and lab.trainings.current.ended)
    assert lab.trainings.current.status.state == "finished"

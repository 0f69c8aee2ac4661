"""Fine-tuning as a training of the lab: a base, another text, what is kept and forgotten."""

import io
import json
import shutil

import pytest
import torch

from resumed import SETUP, numbers
from test_resume import after_step, ended
from transformer_lab.cli import main
from transformer_lab.exchange import write_archive
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.looking.mixing import Adapter, mixed, siblings
from transformer_lab.lab.training.continuing import LabError
from transformer_lab.lab.training.finetuned import cost_of, finetuning_setup
from transformer_lab.lab.training.live_run import LiveRun
from transformer_lab.runs.checkpoint import load_adapter, load_checkpoint
from transformer_lab.settings import ConfigError
from transformer_lab.training.finetune import FineTuning
from waiting import until

TUNING = FineTuning().with_values({"lora.rank": 2, "lora.dropout": 0.1})
METHODS = {
    "lora": TUNING,
    "dora": TUNING.with_values({"lora.variant": "dora"}),
    "full": TUNING.with_values({"finetune.method": "full"}),
    "frozen": TUNING.with_values({"finetune.method": "frozen"}),
}
NEW_TEXT = "the quick brown fox jumps over the lazy dog. " * 60


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with a base in it, and a new text that the base can read."""
    place = tmp_path_factory.mktemp("home")
    lab = Lab(place)
    lab.texts.add(NEW_TEXT.encode(), "foxes", "a test")
    lab.trainings.start(SETUP.with_values({"train.steps": 4, "sample.length": 1}), "base")
    assert ended(lab).state == "finished"
    lab.close()
    return place


@pytest.fixture
def lab(home, tmp_path):
    shutil.copytree(home, tmp_path / "home")
    lab = Lab(tmp_path / "home")
    yield lab
    lab.close()


def setup_of(lab, tuning, **values):
    setup = finetuning_setup(lab.runs.open("base-1"), "foxes", tuning)
    return setup.with_values({"train.steps": 6, "train.evaluate_every": 2, **values})


def test_a_base_of_a_process_of_its_own_is_tuned_in_the_lab(lab):
    base = lab.runs.open("base-1")
    base.manifest["setup"]["train"]["where"] = "process"
    assert finetuning_setup(base, "foxes", TUNING).train.where == "thread"


def tuned(lab, tuning=TUNING, **values):
    lab.trainings.finetune("base-1", None, setup_of(lab, tuning, **values), tuning)
    status = ended(lab)
    assert (status.state, status.reason) == ("finished", "")
    return lab.runs.open(status.run_id)


def base_of(lab):
    return load_checkpoint(lab.runs.open("base-1").checkpoints()[-1])[0]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("method", METHODS)
def test_it_begins_as_the_base_and_learns_from_the_new_text(lab, method):
    run = tuned(lab, METHODS[method])
    assert same(load_checkpoint(run.checkpoint("kept-00000000"))[0], base_of(lab))
    assert not same(load_checkpoint(run.checkpoints()[-1])[0], base_of(lab))
    assert run.manifest["finetune"]["run"] == "base-1"
    both = [(step, json.loads(detail)) for step, detail in run.events("both_losses")]
    assert [step for step, _ in both] == [0, 2, 4, 6]
    assert both[-1][1]["new"] < both[0][1]["new"]
    assert all(losses["old"] > 0 for _, losses in both)


def test_only_the_adapter_is_in_the_optimizer_and_the_weights_are_the_merged_ones(lab):
    run = tuned(lab)
    folder = run.checkpoints()[-1]
    adapter, (weights, _, _) = load_adapter(folder), load_checkpoint(folder)
    remembered = [name for name in adapter if "/" in name]
    assert remembered
    assert all("lora_" in name for name in remembered)
    trained = sum(v.numel() for name, v in adapter.items() if "/" not in name)
    assert run.manifest["finetune"]["trained"] == trained < run.manifest["parameters"] / 2
    base = base_of(lab)
    changed = {name for name in base if not torch.equal(base[name], weights[name])}
    assert changed == {f"{n.rpartition('.')[0]}.weight" for n in adapter if n.endswith("lora_A")}


def test_the_upper_layers_learn_alone(lab):
    run = tuned(lab, METHODS["frozen"])
    base, weights = base_of(lab), load_checkpoint(run.checkpoints()[-1])[0]
    changed = {name for name in base if not torch.equal(base[name], weights[name])}
    assert changed == {"norm.weight", "norm.bias", "head.weight"}


@pytest.mark.parametrize("method", METHODS)
def test_cut_off_and_resumed_it_ends_as_if_never_cut_off(lab, method, monkeypatch):
    whole = tuned(lab, METHODS[method])
    with after_step(monkeypatch, 3, LiveRun.stop):
        lab.trainings.finetune("base-1", None, setup_of(lab, METHODS[method]), METHODS[method])
        cut = ended(lab)
    assert (cut.state, cut.step) == ("stopped", 3)
    lab.runs.delete("base-1")  # it needs its base no more
    lab.trainings.resume(cut.run_id)
    assert ended(lab).state == "finished"
    again = lab.runs.open(cut.run_id)
    assert numbers(again.since()[0]) == numbers(whole.since()[0])
    assert again.events("both_losses") == whole.events("both_losses")
    ends = [load_checkpoint(run.checkpoints()[-1])[0] for run in (whole, again)]
    assert same(*ends)


def test_extended_it_goes_on_with_its_adapter_and_branched_with_every_weight(lab):
    run = tuned(lab)
    lab.trainings.extend(run.id, 2)
    extended = ended(lab)
    assert (extended.state, extended.step) == ("finished", 8)
    assert load_adapter(lab.runs.open(extended.run_id).checkpoints()[-1])
    lab.trainings.branch(
        run.id, run.checkpoints()[-1].name, setup_of(lab, TUNING, **{"train.steps": 2})
    )
    branched = ended(lab)
    assert branched.state == "finished", branched.reason
    assert not load_adapter(lab.runs.open(branched.run_id).checkpoints()[-1])


def test_it_waits_in_the_queue_and_says_when_its_base_is_gone(lab):
    setup = setup_of(lab, TUNING)
    lab.trainings.start(SETUP.with_values({"train.steps": 1_000_000}), "long")
    long = lab.trainings.current
    for _ in range(2):
        lab.trainings.finetune("base-1", None, setup, TUNING, later=True)
    assert [item.kind for item in lab.trainings.queue.list()] == ["finetuned"] * 2
    until(lambda: long.active)
    lab.trainings.stop()
    until(lambda: lab.trainings.current is not long and lab.trainings.current.ended)
    assert lab.trainings.current.status.run_id.startswith("base-1-tuned")


def test_a_base_deleted_while_its_fine_tuning_waits_is_reported_in_a_sentence(lab):
    lab.trainings.start(SETUP.with_values({"train.steps": 1_000_000}), "long")
    until(lambda: lab.trainings.current.active)
    lab.trainings.finetune("base-1", None, setup_of(lab, TUNING), TUNING, later=True)
    lab.runs.delete("base-1")
    lab.trainings.stop()
    until(lambda: lab.trainings.queue.list()[0].problem)
    assert lab.trainings.queue.list()[0].problem == "There is no run 'base-1'."


def test_adapters_of_one_base_have_a_strength_and_are_mixed(lab):
    base = base_of(lab)
    one, two = tuned(lab), tuned(lab, METHODS["full"])
    assert sorted(siblings(lab.runs, "base-1")) == sorted(siblings(lab.runs, one.id))
    assert sorted(siblings(lab.runs, one.id)) == sorted([one.id, two.id])

    def weights(name, *adapters, step=None):
        return mixed(lab.models, lab.runs, name, step, [Adapter(*a) for a in adapters]).weights

    ends = [load_checkpoint(run.checkpoints()[-1])[0] for run in (one, two)]
    assert same(weights(one.id, (one.id, 1)), ends[0])
    assert same(weights(one.id), base)
    assert same(weights("base-1", (one.id, 0), (two.id, 0)), base)
    mix = weights("base-1", (one.id, 0.5), (two.id, 1.5))
    name = "blocks.0.attention.query_key_value.weight"
    changes = [end[name] - base[name] for end in ends]
    torch.testing.assert_close(mix[name], base[name] + 0.5 * changes[0] + 1.5 * changes[1])
    adapter = load_adapter(one.checkpoints()[-1])
    a, b = (adapter[f"blocks.0.attention.output.lora_{k}"] for k in "AB")
    half = weights("base-1", (one.id, 0.5))["blocks.0.attention.output.weight"]
    scaled = base["blocks.0.attention.output.weight"] + 0.5 * TUNING.lora.scale * b @ a
    torch.testing.assert_close(half, scaled, atol=1e-6, rtol=1e-5)


def test_an_adapter_of_other_weights_and_a_wild_strength_are_a_sentence(lab):
    run = tuned(lab)
    with pytest.raises(LabError, match="choose the checkpoint that it was fine-tuned from"):
        mixed(lab.models, lab.runs, "base-1", 2, [Adapter(run.id, 0.5)])
    with pytest.raises(LabError, match=r"choose from 0 to 1\.5"):
        mixed(lab.models, lab.runs, "base-1", None, [Adapter(run.id, 2.0)])
    with pytest.raises(LabError, match="There is no run"):
        mixed(lab.models, lab.runs, "base-1", None, [Adapter("nobody-1", 1.0)])


def test_characters_the_base_does_not_know_are_named_and_can_be_left_out(lab):
    lab.texts.add((NEW_TEXT + "\u0416\u0419" * 40).encode(), "foreign", "a test")
    setup = setup_of(lab, TUNING, **{"data.corpus": "foreign"})
    with pytest.raises(ConfigError, match=r"'\u0416' .*'\u0419' .*leave_out") as refused:
        lab.trainings.finetune("base-1", None, setup, TUNING)
    assert refused.value.field == "finetune.unknown"
    leaving = TUNING.with_values({"finetune.unknown": "leave_out"})
    lab.trainings.finetune("base-1", None, setup, leaving)
    status = ended(lab)
    assert status.state == "finished", status.reason
    corpus, _ = lab.models.learned_from(status.run_id)
    assert "\u0416" not in corpus.text


def foreign(lab, tuning, **values):
    """A setup whose text has two characters that the base does not know."""
    text = NEW_TEXT.replace("fox", "\u0416ox").replace("dog", "\u0419og")
    lab.texts.add(text.encode(), "foreign", "a test")
    return setup_of(lab, tuning, **{"data.corpus": "foreign", **values})


def test_unknown_characters_are_replaced_by_one_that_the_base_knows(lab):
    replacing = TUNING.with_values({"finetune.unknown": "replace", "finetune.replacement": "z"})
    setup = foreign(lab, replacing)
    lab.trainings.finetune("base-1", None, setup, replacing)
    status = ended(lab)
    assert status.state == "finished", status.reason
    corpus, _ = lab.models.learned_from(status.run_id)
    assert corpus.text.count("quick brown zox") == corpus.text.count("lazy zog") == 60
    unknown = replacing.with_values({"finetune.replacement": "\u0416"})
    with pytest.raises(ConfigError, match="does not know '\u0416' either") as refused:
        lab.trainings.finetune("base-1", None, setup, unknown)
    assert refused.value.field == "finetune.replacement"
    with pytest.raises(ConfigError, match="type one character"):
        replacing.with_values({"finetune.replacement": "??"})


EXTEND = {"finetune.unknown": "extend"}


@pytest.mark.parametrize("method", METHODS)
def test_with_a_token_for_each_unknown_character_the_rows_of_the_base_begin_as_they_were(
    lab, method, monkeypatch
):
    tuning = METHODS[method].with_values(EXTEND)
    setup = foreign(lab, tuning)
    base, before = base_of(lab), lab.runs.open("base-1").tokenizer
    lab.trainings.finetune("base-1", None, setup, tuning)
    status = ended(lab)
    assert status.state == "finished", status.reason
    run = lab.runs.open(status.run_id)
    assert run.manifest["finetune"]["added"] == "\u0416\u0419"
    assert run.tokenizer.vocabulary_size == before.vocabulary_size + 2
    assert run.tokenizer.decode(run.tokenizer.encode("fox \u0416\u0419")) == "fox \u0416\u0419"
    places = run.tokenizer.encode("".join(before.characters))
    new = run.tokenizer.encode("\u0416\u0419")
    began, _, _ = load_checkpoint(run.checkpoint("kept-00000000"))
    after, _, _ = load_checkpoint(run.checkpoints()[-1])
    for name in ("embedding.weight", "head.weight"):
        assert torch.equal(began[name][places], base[name])
        torch.testing.assert_close(began[name][new], base[name].mean(0).expand(2, -1))
        assert not torch.equal(after[name][new], began[name][new])
    if method in ("lora", "dora"):
        assert all(
            torch.equal(after[n][places], base[n]) for n in ("embedding.weight", "head.weight")
        )
    elif method == "frozen":
        assert torch.equal(after["embedding.weight"][places], base["embedding.weight"])
    with after_step(monkeypatch, 3, LiveRun.stop):
        lab.trainings.finetune("base-1", None, setup, tuning)
        cut = ended(lab)
    assert (cut.state, cut.step) == ("stopped", 3)
    lab.trainings.resume(cut.run_id)
    assert ended(lab).state == "finished"
    again = lab.runs.open(cut.run_id)
    assert numbers(again.since()[0]) == numbers(run.since()[0])
    assert same(load_checkpoint(again.checkpoints()[-1])[0], after)


def test_a_tied_embedding_grows_once_and_what_it_costs_is_known_beforehand(lab):
    lab.trainings.start(SETUP.with_values({"train.steps": 2, "model.tied_head": True}), "tied")
    tied = lab.runs.open(ended(lab).run_id)
    tuning = TUNING.with_values(EXTEND)
    values = {"data.corpus": "foreign", "train.steps": 3}
    foreign(lab, tuning)
    plain = None
    for run_id, rows in ((tied.id, 2), ("base-1", 4)):
        run = lab.runs.open(run_id)
        setup = finetuning_setup(run, "foreign", tuning).with_values(values)
        cost = cost_of(lab.costs, lab.texts, setup, run.manifest, tuning)
        assert (cost.added, cost.rows, cost.width) == (2, rows, setup.model.embedding_dim)
        plain = cost_of(lab.costs, lab.texts, setup, run.manifest, TUNING)
        assert cost.trained - plain.trained == cost.rows * cost.width
        assert cost.parameters - plain.parameters == cost.rows * cost.width
    lab.trainings.finetune(
        tied.id, None, finetuning_setup(tied, "foreign", tuning).with_values(values), tuning
    )
    status = ended(lab)
    assert status.state == "finished", status.reason
    run = lab.runs.open(status.run_id)
    assert "head.weight" not in load_checkpoint(run.checkpoints()[-1])[0]
    archive = io.BytesIO()
    write_archive(run.folder, archive)
    archive.seek(0)
    assert lab.runs.bring_in(archive, run.id)
    with pytest.raises(LabError, match="2 tokens more"):
        mixed(lab.models, lab.runs, tied.id, None, [Adapter(run.id, 0.5)])


def test_a_rank_above_the_width_is_refused_before_anything_begins(lab):
    wide = TUNING.with_values({"lora.rank": 40})
    with pytest.raises(ConfigError, match="choose at most 16"):
        lab.trainings.finetune("base-1", None, setup_of(lab, wide), wide)


def test_a_moment_of_the_base_can_be_fine_tuned(lab):
    setup = setup_of(lab, TUNING)
    lab.trainings.finetune("base-1", 2, setup, TUNING)
    run = lab.runs.open(ended(lab).run_id)
    assert run.manifest["finetune"]["step"] == 2
    with pytest.raises(LabError, match="Choose another moment"):
        lab.trainings.finetune("base-1", 99, setup, TUNING)


def test_an_adapter_that_does_not_fit_its_base_is_refused_in_a_sentence(lab):
    lab.trainings.finetune(
        "base-1", None, setup_of(lab, TUNING, **{"train.steps": 1_000_000}), TUNING
    )
    until(lambda: lab.trainings.current.status.step >= 3)
    lab.trainings.stop()
    run_id = ended(lab).run_id
    path = lab.runs.open(run_id).folder / "run.json"
    content = json.loads(path.read_text())
    content["finetune"]["settings"]["lora"]["rank"] = 3
    path.write_text(json.dumps(content))
    lab.trainings.resume(run_id)
    status = ended(lab)
    assert status.state == "failed"
    assert "another base or another rank" in status.reason


def test_taken_to_another_home_it_goes_on_exactly(lab, tmp_path, monkeypatch):
    whole = tuned(lab)
    with after_step(monkeypatch, 3, LiveRun.stop):
        lab.trainings.finetune("base-1", None, setup_of(lab, TUNING), TUNING)
        run_id = ended(lab).run_id
    other = Lab(tmp_path / "other")
    try:
        other.texts.add(NEW_TEXT.encode(), "foxes", "a test")
        archive = io.BytesIO()
        write_archive(lab.runs.open(run_id).folder, archive)
        archive.seek(0)
        brought = other.runs.bring_in(archive, run_id)
        other.trainings.resume(brought)
        assert ended(other).state == "finished"
        assert numbers(other.runs.open(brought).since()[0]) == numbers(whole.since()[0])
    finally:
        other.close()


def test_the_command_line_fine_tunes_and_names_a_setting_that_is_wrong(home, tmp_path, capsys):
    place = shutil.copytree(home, tmp_path / "home")
    line = ["finetune", "base-1", f"--home={place}", "--corpus=foxes", "--json"]
    assert main([*line, "--steps=2", "--set=lora.rank=2", "--set=train.threads=1"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["run"], summary["state"]) == ("base-1-tuned-1", "finished")
    assert main([*line, "--set=lora.rnk=2"]) == 2
    assert "did you mean" in capsys.readouterr().err
    assert main([*line, "--set=model.layers=2"]) == 2
    assert "has the model of its base" in capsys.readouterr().err
    assert main([*line, "--moment=soon"]) == 2
    assert main(["finetune", "nobody-1", f"--home={place}", "--corpus=foxes"]) == 1
    assert "There is no run 'nobody-1'" in capsys.readouterr().err

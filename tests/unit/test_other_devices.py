"""Models on another device: what is given to them follows, whatever looks at them."""

from dataclasses import replace

import pytest
import torch

from elsewhere import Away, Elsewhere
from transformer_lab.generation import SampleConfig
from transformer_lab.inspection.audit import Verdict
from transformer_lab.inspection.induction import InductionCheck
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.looking.inspector import Inspector
from transformer_lab.lab.looking.interventions import Intervention
from transformer_lab.model import ModelConfig, build_model
from transformer_lab.recipes import Setup
from transformer_lab.training import LiveSettings, TrainConfig
from transformer_lab.training.batches import Batches
from transformer_lab.training.evaluate import evaluate
from transformer_lab.training.learning_rules import LEARNING_RULES
from waiting import PATIENCE

SETUP = Setup().with_values(
    {
        "data.corpus": "python_docs",
        "model.layers": 1,
        "model.heads": 2,
        "model.embedding_dim": 16,
        "model.sequence_length": 16,
        "model.pc_steps": 1,
        "train.threads": 1,
    }
)
SHIFTED = {"model.positions": "rotary", "model.qk_norm": True, "model.smear": 2}
SETTLING = {"model.positions": "pc", "model.architecture": "pc_dual", "model.norm_place": "post"}
BEFORE = {"model.architecture": "pc_hierarchical", "model.tied_head": True}
VARIANTS = [SHIFTED, *(pytest.param(one, marks=pytest.mark.slow) for one in (SETTLING, BEFORE))]
TEXT = "The quick brown"
OWN = {"close", "opening", "read", "without_unknown", "pieces", "vocabulary_size", "config"}
LOOKS = {
    "attention": (),
    "measures": (),
    "head": (0, 1),
    "query": (0, 1, 3),
    "lens": (),
    "likeliest": (3,),
    "attribution": (3, 5),
    "tensors": (("logits", "blocks.0.stream_out"),),
    "architecture": (),
    "embeddings": (),
    "neighbours": (5,),
    "positions": (),
    "health": (None,),
}


@pytest.fixture
def away(tmp_path, monkeypatch):
    """A function that gives a lab whose untrained model is on another device."""
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)  # which bears no such tensors
    lab = Lab(tmp_path)
    ask, start = lab.jobs.ask, lab.jobs.start

    def asked(function, *more):
        def there():
            with Elsewhere():
                return function()

        return ask(there, *more)

    def started(label, items, **more):
        def there():
            with Elsewhere():
                yield from items

        return start(label, there(), **more)

    def made(changes):
        lab.trainings.initialize(SETUP.with_values(changes))
        assert lab.trainings.wait(PATIENCE)
        here = lab.models.snapshot("latest")
        generator = torch.Generator().manual_seed(1)
        weights = {
            name: Away(torch.empty_like(weight).normal_(0, 0.3, generator=generator))
            for name, weight in here.weights.items()
        }
        there = replace(here, weights=weights)
        monkeypatch.setattr(lab.models, "snapshot", lambda *_: there)
        monkeypatch.setattr(lab.jobs, "ask", asked)
        monkeypatch.setattr(lab.jobs, "start", started)
        return lab

    with Elsewhere():
        yield made
    lab.close()


def results(job):
    assert job.wait(PATIENCE)
    assert job.error is None, job.error
    return job.since()[0]


def test_the_device_of_these_tests_refuses_what_a_gpu_refuses():
    here = torch.ones(3)
    with Elsewhere():
        there = here.to("meta")
        assert (there + there).sum().item() == 6
        assert torch.equal((there @ there).cpu(), torch.tensor(3.0))
        with pytest.raises(RuntimeError, match="same device"):
            there + here
        with pytest.raises(RuntimeError, match=r"numpy\(\)"):
            there.numpy()
        assert there[torch.tensor([0, 2])].tolist() == [1, 1]
        with pytest.raises(RuntimeError, match="same device"):
            here[torch.ones(2, dtype=torch.int64, device="meta")]


def test_every_view_is_tried():
    views = {name for name in vars(Inspector) if not name.startswith("_")}
    assert views == OWN | set(LOOKS)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_every_view_looks_into_a_model_on_another_device(away, changes):
    lab = away(changes)
    inspector = lab.inspector
    what = inspector.read("untrained", None, TEXT).open
    assert inspector.vocabulary_size(what) == lab.models.snapshot().tokenizer.vocabulary_size
    for name, arguments in LOOKS.items():
        if name == "attribution" and changes.get("model.norm_place") == "post":
            continue  # not defined there, on any device
        assert getattr(inspector, name)(what, *arguments) is not None
    interventions = inspector.interventions
    parts = tuple(range(len(interventions.parts(what))))
    for intervention in (
        Intervention(kind="zero", parts=parts[:2], position=3),
        Intervention(kind="mean", parts=parts, position=3),
        Intervention(kind="patch", parts=parts, position=3, source="A red fox"),
        Intervention(
            kind="patch", parts=parts[-1:], position=3, source="A red fox", everywhere=True
        ),
    ):
        effect = interventions.effect(what, intervention)
        assert effect.divergence > 0
        assert effect.after.validation > 0
    assert results(interventions.importance(what, mean=True))
    assert isinstance(results(interventions.induction(what))[-1], InductionCheck)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_a_model_on_another_device_writes_is_audited_and_settles(away, changes):
    lab = away(changes)
    snapshot = lab.models.snapshot()
    config = SampleConfig(prompt="The ", length=30)
    writing = lab.writings.start(snapshot, config)
    first = results(writing.job)
    assert len(first) == 30
    assert len(results(lab.writings.branch(writing, 3, 5, config).job)) == 26
    assert len(results(lab.models.generate("untrained", config)[0])) >= 30
    proofs = results(lab.models.audit("untrained")[1])
    assert isinstance(proofs[-1], Verdict)
    assert proofs[-1].outcome in ("passed", "broken")
    if "model.architecture" in changes:
        lab.settlings.look("untrained")
        results(lab.settlings._looking)
        assert lab.settlings.look("untrained").traces


@pytest.mark.parametrize("rule", LEARNING_RULES)
def test_a_batch_follows_the_model_to_its_device(rule):
    model = build_model(ModelConfig(layers=1, heads=2, embedding_dim=16), 32, seed=1).eval()
    batches = Batches(torch.arange(400) % 32, 4, 16, 1)
    expected = evaluate(model, batches, 2, LiveSettings(micro_batch=3))
    with Elsewhere():
        model.load_state_dict({n: Away(w) for n, w in model.state_dict().items()}, assign=True)
        assert evaluate(model, batches, 2, LiveSettings(micro_batch=3)) == expected
        loss_of = LEARNING_RULES[rule](model, TrainConfig(), LiveSettings())
        assert loss_of(*batches(1)).item() > 0

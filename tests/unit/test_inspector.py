"""The inspector: what it finds of real models, and what it keeps of that."""

import dataclasses
import itertools
import time

import numpy as np
import pytest
import torch

from sampling import sampled
from transformer_lab.inspection.capture import capture
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.looking import look_cache, looks
from transformer_lab.lab.looking.inspector import Inspector
from transformer_lab.lab.looking.interventions import ImportanceLook, Intervention
from transformer_lab.lab.looking.look_cache import LookCache, packed, unpacked
from transformer_lab.lab.looking.subjects import Open, Subjects
from transformer_lab.lab.shelves import Shelves
from transformer_lab.lab.training.snapshot import fingerprint
from transformer_lab.model import ModelConfig
from transformer_lab.recipes import Setup
from transformer_lab.settings import ConfigError, settings_of
from transformer_lab.text.cache import ByteCache, BytesDisk, open_cache
from waiting import PATIENCE, until

SETUP = Setup().with_values(
    {
        "data.corpus": "python_docs",
        "model.layers": 2,
        "model.heads": 2,
        "model.embedding_dim": 16,
        "model.sequence_length": 16,
        "train.batch_size": 4,
        "train.steps": 20,
        "train.evaluate_every": 5,
        "train.evaluation_batches": 1,
        "train.threads": 1,
        "train.learning_rate": 0.01,
        "sample.length": 20,
        "sample.prompt": "The ",
    }
)
CHOICES = [
    {f"model.{setting.name}": choice}
    for setting in settings_of(ModelConfig)
    for choice in setting.choices or ()
    if choice != setting.default
]
VARIANTS = [
    {},
    *CHOICES,
    {"model.tied_head": True, "model.bias": False, "model.smear": 3},
    {"model.positions": "rotary", "model.qk_norm": True, "model.layers": 1, "model.heads": 1},
    {"data.tokenizer": "bytes"},
    {"data.tokenizer": "bpe", "data.vocabulary_size": 700},
]
LOOKS = ("attention", "measures", "lens", "embeddings", "positions", "architecture")


def train(lab, setup=SETUP):
    lab.trainings.start(setup)
    until(lambda: lab.trainings.current.ended)
    return lab.trainings.current.status.run_id


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder in which one run has finished."""
    folder = tmp_path_factory.mktemp("home")
    lab = Lab(folder)
    train(lab)
    lab.close()
    return folder


@pytest.fixture
def lab(home):
    made = Lab(home)
    yield made
    made.close()


@pytest.fixture
def fresh(tmp_path):
    made = Lab(tmp_path / "home")
    yield made
    made.close()


def opened(lab, step=None, text="The quick brown", run="latest"):
    return lab.inspector.read(lab.models.writer_named(run), step, text).open


def kept(home):
    cache = open_cache(home / "cache" / "inspection")
    found = {key: cache.get(key) for key in cache.iterkeys()}
    cache.close()
    return found


@pytest.mark.parametrize("changes", sampled(VARIANTS, 9), ids=str)
def test_every_variant_can_be_looked_into_or_says_why_not(fresh, changes):
    fresh.trainings.initialize(SETUP.with_values(changes))
    assert fresh.trainings.wait(PATIENCE)
    inspector = fresh.inspector
    what = opened(fresh, text=inspector.opening("latest"))
    for name in LOOKS:
        assert getattr(inspector, name)(what)
    assert np.isfinite(inspector.head(what, 0, 0).given).all()
    if changes == {"model.attention": "linear"}:
        with pytest.raises(ConfigError, match="no softmax"):
            inspector.query(what, 0, 0, 3)
    else:
        assert inspector.query(what, 0, 0, 3).weights.sum() == pytest.approx(1, abs=1e-5)
    health = inspector.health(what, None)
    assert np.isfinite(health.gradients).all()
    assert len(health.gradients) > 5
    for part in inspector.architecture(what):
        assert len(inspector.tensors(what, part.taps)) == len(part.taps)
    sites = inspector.interventions.parts(what)
    effect = inspector.interventions.effect(
        what, Intervention(kind="mean", parts=tuple(range(len(sites))), position=3)
    )
    assert effect.after.validation > 0
    if changes == {"model.norm_place": "post"}:
        with pytest.raises(ConfigError, match="pre-norm"):
            inspector.attribution(what, 3, 1)
    else:
        assert len(inspector.attribution(what, 3, 1).parts) > 3


def test_what_was_found_of_live_weights_is_not_written_to_disk(fresh):
    run = train(fresh)
    live = opened(fresh, run=run)
    assert live.weights.startswith("live")
    for name in LOOKS:
        getattr(fresh.inspector, name)(live)
    assert kept(fresh.home) == {}
    moment = opened(fresh, step=4, run=run)
    assert not moment.weights.startswith("live")
    fresh.inspector.attention(moment)
    assert len(kept(fresh.home)) == 1


def test_only_bytes_without_pickle_are_kept(lab, home):
    what = opened(lab)
    for name in LOOKS:
        getattr(lab.inspector, name)(what)
    lab.inspector.health(what, 16)
    found = kept(home)
    assert len(found) == 6  # architecture is only described
    for key, data in found.items():
        assert isinstance(key, str)
        assert isinstance(data, bytes)
        assert data.startswith(b"PK")  # npz: a zip of arrays
        assert b"pickle" not in data
    cache = open_cache(home / "cache" / "inspection")
    assert isinstance(cache.disk, BytesDisk)
    cache.close()


def test_a_look_is_read_back_from_disk_by_another_lab(lab, home):
    what = opened(lab, text="read again")
    first = lab.inspector.attention(what)
    found = {key: data for key, data in kept(home).items() if "AttentionLook" in key}
    (key,) = [
        key
        for key, data in found.items()
        if np.array_equal(unpacked(looks.AttentionLook, data).tiles, first.tiles)
    ]
    marked = dataclasses.replace(first, tiles=first.tiles + 1)  # so that it cannot be computed
    cache = ByteCache(home / "cache" / "inspection")
    cache.set(key, packed(marked))
    again = Inspector(lab.models, home / "cache" / "inspection")
    assert np.array_equal(again.attention(what).tiles, marked.tiles)
    cache.set(key, b"damaged")
    anew = Inspector(lab.models, home / "cache" / "inspection")
    assert np.array_equal(anew.attention(what).tiles, first.tiles)
    for one in (again, anew, cache):
        one.close()


def test_the_key_names_weights_shape_tokens_and_what_was_asked(lab):
    one, same, other = (opened(lab, step=step).weights for step in (4, 4, 8))
    assert one == same != other
    snapshot = lab.models.snapshot("latest", 4)
    gelu = dataclasses.replace(snapshot.config, feedforward="gelu")
    assert fingerprint(dataclasses.replace(snapshot, config=gelu)) != fingerprint(snapshot)
    changed = dict(snapshot.weights)
    changed["embedding.weight"] = changed["embedding.weight"].clone()
    changed["embedding.weight"][0, 0] += 1e-3
    assert fingerprint(dataclasses.replace(snapshot, weights=changed)) != fingerprint(snapshot)
    here, there = opened(lab, text="The quick"), opened(lab, text="The slow")
    tiles = [lab.inspector.attention(what).tiles for what in (here, there, here)]
    assert not np.array_equal(tiles[0], tiles[1][..., :9, :9])
    assert np.array_equal(tiles[0], tiles[2])
    heads = [lab.inspector.head(here, *place).given for place in ((0, 0), (0, 1), (1, 0))]
    assert not any(np.array_equal(a, b) for a, b in itertools.pairwise(heads))


def test_a_page_keeps_seeing_the_weights_it_opened(fresh):
    fresh.trainings.start(SETUP.with_values({"train.steps": 1_000_000}))
    while not (fresh.trainings.current.snapshot and fresh.trainings.current.snapshot.step > 0):
        time.sleep(0.01)
    what = opened(fresh)
    first = fresh.inspector.lens(what)
    step = fresh.trainings.current.snapshot.step
    while fresh.trainings.current.snapshot.step == step:
        time.sleep(0.01)
    assert fresh.inspector.lens(what) is first
    later = opened(fresh)
    assert later.weights != what.weights
    assert not np.array_equal(fresh.inspector.lens(later).probabilities, first.probabilities)


def test_a_text_is_cut_where_the_model_ends_and_tokens_of_another_model_are_refused(lab):
    reading = lab.inspector.read("latest", None, "The " * 10)
    assert len(reading.open.tokens) == 16
    assert "40 tokens" in reading.note
    for tokens in ((), (10**6,), (-1,), (1,) * 17):
        with pytest.raises(ConfigError):
            lab.inspector.attention(dataclasses.replace(reading.open, tokens=tokens))


def test_without_its_text_a_run_opens_on_what_it_wrote(fresh):
    entry = fresh.texts.library.add(b"one two three four five six seven " * 40, "mine", "pasted")
    run = train(fresh, SETUP.with_values({"data.corpus": entry.id, "sample.prompt": "one "}))
    until(lambda: fresh.models.written(run))
    fresh.delete_text(entry.id)
    fresh.close()
    again = Lab(fresh.home)
    assert again.models.written(run).startswith("one ")
    assert again.inspector.opening(run) == again.models.written(run)[:16]
    what = opened(again, text="one two", run=run)
    with pytest.raises(ConfigError):
        again.inspector.health(what, None)
    assert again.inspector.interventions.effect(
        what, Intervention(kind="zero", parts=(0,), position=2)
    ).after.validation is None  # fmt: skip
    again.close()


def test_importance_is_kept_and_given_again_without_computing(lab):
    what = opened(lab)
    first, second = [], []
    for found in (first, second):
        job = lab.inspector.interventions.importance(what, mean=False)
        assert job.wait(PATIENCE)
        found += job.since()[0]
    assert [(one.site, one.loss) for one in first] == [(one.site, one.loss) for one in second]
    assert len({id(one) for one in [*first, *second]}) == 2 * len(first)
    assert any("ImportanceLook" in key for key in kept(lab.home))


@pytest.mark.parametrize(("length", "factor"), [(7, 1), (8, 2), (9, 4), (10, 3)])
def test_a_pooled_pattern_still_shares_out_everything(length, factor):
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(2, 3, length, length, generator=generator)
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    pattern = scores.masked_fill(future, -torch.inf).softmax(-1)
    pooled = looks.pooled_pattern(pattern, factor)
    assert pooled.shape == (2, 3, -(-length // factor), -(-length // factor))
    torch.testing.assert_close(pooled.nansum(-1), torch.ones(pooled.shape[:-1]))
    assert pooled.isnan().sum() == 6 * pooled.shape[-1] * (pooled.shape[-1] - 1) // 2


def test_a_pooled_pattern_without_a_mask_shows_what_is_taken_from_the_future():
    pattern = torch.randn(2, 3, 10, 10, generator=torch.Generator().manual_seed(1)).softmax(-1)
    pooled = looks.pooled_pattern(pattern, 3)
    torch.testing.assert_close(pooled.sum(-1), torch.ones(2, 3, 4))


def test_pictures_of_activations_are_means_of_what_was_captured(lab):
    snapshot = lab.models.snapshot("latest")
    tokens = torch.tensor(opened(lab).tokens)
    captured = capture(snapshot.model(), tokens)
    whole = looks.tensor_look(captured, "blocks.1.stream_out")
    assert np.array_equal(whole.picture, captured["blocks.1.stream_out"].numpy())
    assert whole.mean == pytest.approx(whole.picture.mean(), abs=1e-6)
    heads = looks.tensor_look(captured, "blocks.0.attention.queries")
    assert heads.picture.shape == (len(tokens), 16)


def test_what_would_need_pickle_is_not_packed():
    with pytest.raises(TypeError, match="pickled"):
        packed(ImportanceLook(losses=np.array([None]), errors=np.zeros(1), baseline=1.0))
    with pytest.raises(look_cache.UNREADABLE):
        unpacked(ImportanceLook, b"cos\nsystem\n(S'true'\ntR.")


def test_memory_is_bounded_and_the_newest_stays(tmp_path):
    cache, made = LookCache(tmp_path, Shelves(1000)), []

    def look(number):
        made.append(number)
        return ImportanceLook(losses=np.full(50, number), errors=np.zeros(50), baseline=0.0)

    for number in (1, 2, 2, 1):
        found = cache.get(ImportanceLook, str(number), lambda n=number: look(n), on_disk=False)
        assert found.losses[0] == number
    assert made == [1, 2, 1]
    cache.close()


def test_models_and_captures_are_bounded_too(home, monkeypatch):
    monkeypatch.setattr("transformer_lab.lab.lab.Shelves", lambda: Shelves(1))
    lab = Lab(home)
    shelf = Subjects(lab.models)
    keys = [shelf.find("latest", step).key for step in (4, 8)]
    assert len(set(keys)) == 2
    assert shelf.find("latest", 8, keys[0]).key == keys[1]  # the first had to go
    assert shelf.find("latest", 4, keys[1]).key == keys[1]  # the newest stays
    tokens = torch.arange(5)
    assert shelf.capture(shelf.find("latest", 4), tokens) is not shelf.capture(
        shelf.find("latest", 8), tokens
    )
    assert lab.shelves.nbytes <= 64
    lab.close()


def test_open_says_all_that_a_look_depends_on():
    assert {item.name for item in dataclasses.fields(Open)} == {"run", "step", "weights", "tokens"}

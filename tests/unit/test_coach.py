"""The coach: each of its rules on real curves, one it holds for and one it does not."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from transformer_lab.lab.coach.coach import RULES, advise, too_little_text
from transformer_lab.lab.coach.evidence import RECENT, Record, thinned
from transformer_lab.model import ModelConfig, build_model, parameter_breakdown
from transformer_lab.recipes import SETTINGS, Setup
from transformer_lab.settings import checked
from transformer_lab.text import DataConfig
from transformer_lab.text.corpora import load_corpus
from transformer_lab.text.tokenizers import TOKENIZERS
from transformer_lab.training import NonFiniteLossError, StepMetrics, TrainConfig, train
from transformer_lab.training.batches import Batches
from transformer_lab.training.optimizers import OPTIMIZERS

MODEL = ModelConfig(layers=1, heads=2, embedding_dim=32, sequence_length=16, dropout=0.0)
GOOD = TrainConfig(
    steps=120,
    batch_size=16,
    learning_rate=1e-2,
    schedule="constant",
    evaluate_every=10,
    evaluation_batches=4,
    threads=1,
)
CASES = {  # what differs from GOOD, and the length of the text in tokens
    "good": ({}, 60_000),
    "diverges": ({"learning_rate": 1.0, "optimizer": "sgd", "gradient_clip": 0.0}, 60_000),
    "crawls": ({"learning_rate": 1e-6}, 60_000),
    "by heart": ({"steps": 200}, 600),
    "flat": ({"steps": 240, "learning_rate": 0.3, "batch_size": 16}, 60_000),
    "one by one": ({"batch_size": 1}, 60_000),
    "many kinds": ({"batch_size": 2, "steps": 50, "evaluation_batches": 1}, 9_000),
}
TOKENS = {"many kinds": "gpt2"}  # of the cases that are not cut into characters


@cache
def text(kind: str) -> tuple[torch.Tensor, int]:
    corpus = load_corpus("python_docs", [])
    tokenizer = TOKENIZERS[kind].learn(corpus.text, 0)
    tokens = torch.from_numpy(tokenizer.encode(corpus.text[:80_000])).long()
    return tokens, tokenizer.vocabulary_size


def recorded(config: TrainConfig) -> list[StepMetrics]:
    """The run "flat" as it once went: at its rate any other rounding leads to another curve."""
    losses = json.loads(Path(__file__).with_name("flat_course.json").read_text())
    return [
        StepMetrics(
            step=step,
            train_loss=loss,
            learning_rate=config.learning_rate,
            gradient_norm=1.0,
            tokens_per_second=1e5,
            seconds=step / 300,
            validation_loss=losses["validation"].get(str(step)),
        )
        for step, loss in enumerate(losses["train"], 1)
    ]


@cache
def trained(case: str) -> Record:
    """The record of a run, as if it had as many steps ahead as it has behind."""
    changes, length = CASES[case]
    config = replace(GOOD, **changes)
    kind = TOKENS.get(case, "characters")
    tokens, vocabulary = text(kind)
    model = build_model(MODEL, vocabulary, seed=1)
    batches = Batches(tokens[:length], config.batch_size, MODEL.sequence_length, 1)
    judged = Batches(tokens[-10_000:], 16, MODEL.sequence_length, 0)
    optimizer = OPTIMIZERS[config.optimizer](model, config)
    points: list[StepMetrics] = []
    broken = False
    try:
        steps = train(model, optimizer, batches, judged, config)
        points += recorded(config) if case == "flat" else steps
    except NonFiniteLossError:
        broken = True
    return Record(
        course=points,
        recent=points[-RECENT:],
        evaluated=[p for p in points if p.validation_loss is not None],
        setup=Setup(
            model=MODEL,
            train=replace(config, steps=2 * config.steps),
            data=DataConfig(tokenizer=kind),
        ),
        vocabulary_size=vocabulary,
        parameters=sum(dict(parameter_breakdown(MODEL, vocabulary)).values()),
        training_tokens=length,
        peak=config.learning_rate,
        broken=broken,
    )


def at(record: Record, step: int) -> Record:
    """The same run when it stood at an earlier step."""
    course, evaluated = (
        [p for p in points if p.step <= step] for points in (record.course, record.evaluated)
    )
    return replace(record, course=course, recent=course[-RECENT:], evaluated=evaluated)


def said(case: str, step: int = 1000, **changes: object) -> str:
    """The kind of advice on a run when it stood at `step`."""
    advice = advise(replace(at(trained(case), step), **changes))
    return advice.kind if advice else ""


def with_pace(record: Record, factor: float, since: int) -> Record:
    """The same run with another pace from step `since` on."""
    course = [
        replace(p, tokens_per_second=100.0 * (factor if p.step >= since else 1.0))
        for p in record.course
    ]
    return replace(record, course=course, recent=course[-RECENT:])


def test_a_loss_that_becomes_infinite_or_rises_means_a_rate_that_is_too_high():
    broken = trained("diverges")
    assert broken.broken
    advice = advise(broken)
    assert advice.kind == "too_high"
    assert advice.settings["train.learning_rate"] == pytest.approx(0.33)
    assert said("good") != "too_high"
    assert said("flat") != "too_high"


def test_a_loss_that_rises_and_stays_up_means_a_rate_that_is_too_high():
    good, tail = trained("good"), trained("one by one")
    assert said("good") != "too_high"
    risen = [replace(p, train_loss=p.train_loss + 1.5 * (p.step > 90)) for p in good.course]
    assert advise(replace(good, course=risen, recent=risen[-RECENT:])).kind == "too_high"
    assert advise(tail).kind != "too_high"  # noise alone is no rise


def test_a_loss_that_hardly_falls_means_a_rate_that_is_too_low():
    assert said("crawls") == "too_low"
    assert said("crawls", 30) == ""  # too early to tell
    assert said("good", 60) != "too_low"
    assert said("by heart", 60) != "too_low"


def test_a_validation_loss_that_rises_while_the_train_loss_falls_is_overfitting():
    advice = advise(trained("by heart"))
    assert advice.kind == "overfitting"
    lowest = min(trained("by heart").evaluated, key=lambda p: p.validation_loss)
    assert advice.checkpoint == lowest.step
    assert f"{lowest.validation_loss:.3f} at step {lowest.step}" in advice.evidence
    assert said("good") != "overfitting"


def test_a_loss_that_stays_where_it_is_at_the_peak_rate_is_a_plateau():
    assert said("flat") == "plateau"
    assert said("good") != "plateau"
    assert said("flat", under_way=False) != "plateau"  # there is nothing left to gain


def test_more_parameters_than_text_that_was_read_often_is_too_little_text():
    before = at(trained("by heart"), 40)
    assert "too_little_text" in {a.kind for rule in RULES if (a := rule(before))}
    assert not any(a.kind == "too_little_text" for rule in RULES if (a := rule(trained("good"))))


def test_a_validation_text_that_was_harder_from_the_start_is_no_lack_of_text():
    before = at(trained("by heart"), 40)
    apart = 0.6  # as if the validation text had been this much harder all along
    harder = [
        replace(p, validation_loss=p.validation_loss - before.gap(p) + apart)
        for p in before.evaluated
    ]
    assert too_little_text(before)
    assert too_little_text(replace(before, evaluated=harder)) is None


def test_batches_of_one_short_sequence_are_noisy():
    assert said("one by one") == "noisy"
    assert said("good") != "noisy"


def test_a_gpu_that_is_there_and_not_used_is_named():
    assert said("good", gpu=True, on_cpu=True, remaining=90.0) == "gpu_unused"
    assert said("good", gpu=True, on_cpu=False, remaining=90.0) != "gpu_unused"
    assert said("good", gpu=True, on_cpu=True, remaining=5.0) != "gpu_unused"
    assert said("good", gpu=False, on_cpu=True, remaining=90.0) != "gpu_unused"


def test_a_pace_that_collapsed_is_laid_on_other_programs_only_where_they_compute():
    slow = with_pace(trained("good"), 0.25, since=80)
    assert advise(replace(slow, others=1.6)).kind == "slowed"
    assert advise(replace(slow, others=0.0)).kind != "slowed"
    steady = with_pace(trained("good"), 1.0, since=80)
    assert advise(replace(steady, others=1.6)).kind != "slowed"


def test_memory_that_ran_out_or_is_nearly_used_up_is_reported():
    good, gigabyte = trained("good"), 1e9
    scarce = advise(replace(good, free=0.2 * gigabyte, whole=16 * gigabyte))
    assert scarce.kind == "memory"
    assert scarce.settings == {"train.batch_size": 8}
    assert "0.2 GB of 16.0 GB are left" in scarce.evidence
    assert said("good", free=4 * gigabyte, whole=16 * gigabyte) != "memory"
    assert said("good", free=None, whole=16 * gigabyte) != "memory"  # on a GPU it does not matter
    before_the_first_step = replace(
        good, course=[], recent=[], evaluated=[], under_way=False, ran_out="It was not enough."
    )
    assert advise(before_the_first_step).settings == {"model.sequence_length": 8}
    assert said("good", under_way=True, ran_out="Memory ran out after step 9.") == "memory"


def test_a_vocabulary_larger_than_the_text_or_words_without_tokens_do_not_fit():
    vast = advise(trained("many kinds"))
    assert vast.kind == "tokenizer_mismatch"
    assert vast.settings == {"data.tokenizer": "characters"}
    assert "50,256 different tokens" in vast.evidence
    assert said("many kinds", training_tokens=200_000) != "tokenizer_mismatch"
    assert said("good", training_tokens=50) != "tokenizer_mismatch"  # characters are what occurs
    assert said("good", unknown_share=0.2) == "tokenizer_mismatch"
    assert said("good", unknown_share=0.01) != "tokenizer_mismatch"


def test_gibberish_is_normal_while_the_loss_is_high():
    advice = advise(trained("good"))
    assert advice.kind == "gibberish"
    assert advice.press == "lesson"
    readable = [replace(p, validation_loss=1.6) for p in trained("good").evaluated]
    assert said("good", evaluated=readable) == ""
    assert said("crawls") != "gibberish"  # it has learned nothing, which is not normal


@pytest.mark.parametrize("case", [case for case in CASES if case != "diverges"])
def test_nothing_is_reported_before_there_is_enough_to_tell(case):
    assert said(case, 39) == ""


@pytest.mark.parametrize("case", CASES)
def test_every_press_sets_what_the_form_takes(case):
    for rule in RULES:
        if advice := rule(trained(case)):
            assert advice.settings or advice.press or advice.checkpoint
            for key, value in advice.settings.items():
                assert checked(SETTINGS[key], value) == value


def test_a_long_course_is_thinned_from_its_first_step_on():
    points = trained("good").course * 20
    assert len(thinned(points)) <= 1000
    assert thinned(points)[0] is points[0]
    assert list(thinned(points[:5])) == list(points[:5])
    assert list(thinned([])) == []

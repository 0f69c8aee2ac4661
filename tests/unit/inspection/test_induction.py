"""Induction heads are found by where they look, and confirmed by what is lost without them."""

import math

import pytest
import torch

from transformer_lab.inspection.ablation import ablated, mean_loss
from transformer_lab.inspection.attention import induction_score, patterns
from transformer_lab.inspection.capture import capture
from transformer_lab.inspection.induction import (
    copying_batch,
    copying_repetitions,
    induction_check,
    induction_steps,
    look_back_scores,
    random_repetitions,
)
from transformer_lab.model import ModelConfig, build_model, model_from_weights
from transformer_lab.settings import ConfigError
from transformer_lab.text.tasks import Problem, held_out, task_text
from transformer_lab.text.tokenizers import ByteTokenizer, CharacterTokenizer
from transformer_lab.training import TrainConfig, train
from transformer_lab.training.batches import Batches
from transformer_lab.training.optimizers import OPTIMIZERS

TEXT = task_text("copying")
CUT = int(0.9 * len(TEXT))
CHARACTERS = CharacterTokenizer.learn(TEXT, 0)
PROBLEMS = held_out(TEXT[:CUT], TEXT[CUT:])


def small(vocabulary=28, **changes):
    shape = {"layers": 2, "heads": 4, "embedding_dim": 64, "sequence_length": 64, "dropout": 0.0}
    model = build_model(ModelConfig(**shape | changes), vocabulary, seed=1)
    return model_from_weights(model.config, vocabulary, model.state_dict())


@pytest.mark.parametrize("kind", ["random", "copying"])
def test_at_every_query_the_next_token_is_the_one_at_the_source(kind):
    model = small()
    if kind == "random":
        texts = random_repetitions(model, torch.Generator().manual_seed(1))
    else:
        texts = copying_repetitions(model, CHARACTERS, PROBLEMS)
    assert len(texts) > 10
    for text in texts:
        assert len(text.tokens) <= 64
        assert torch.equal(text.tokens[text.queries + 1], text.tokens[text.sources])
        assert torch.equal(text.tokens[text.queries], text.tokens[text.sources - 1])
        assert (text.sources < text.queries).all()


def test_lines_of_the_task_are_held_out_and_packed():
    texts = copying_repetitions(small(), CHARACTERS, PROBLEMS, count=5)
    assert len(texts) == 5
    written = "".join(CHARACTERS.decode(text.tokens.tolist())[1:] for text in texts)
    lines = written.splitlines()
    assert lines == [problem.question + problem.answer for problem in PROBLEMS[: len(lines)]]
    assert sum(len(text.queries) for text in texts) == sum(
        len(problem.answer) - 1 for problem in PROBLEMS[: len(lines)]
    )


def test_only_the_copied_tokens_count_in_the_loss():
    model = small()
    texts = copying_repetitions(model, CHARACTERS, PROBLEMS, count=3)
    batch = copying_batch(model, texts)
    losses = []
    for text in texts:
        logits = model(text.tokens[None])[0].log_softmax(-1)
        losses += [-logits[q, text.tokens[q + 1]].item() for q in text.queries]
    assert mean_loss(model, [batch]) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_scores_are_the_measure_of_induction_on_random_texts():
    model = small()
    texts = random_repetitions(model, torch.Generator().manual_seed(1), count=3)
    seen = [patterns(capture(model, text.tokens)) for text in texts]
    n = len(texts[0].tokens) // 2
    shares = [pattern.diagonal(1 - n, -2, -1)[..., 1:-1].mean(-1) for pattern in seen]
    torch.testing.assert_close(look_back_scores(model, texts), torch.stack(shares).mean(0))
    whole = torch.stack([induction_score(pattern) for pattern in seen]).mean(0)
    torch.testing.assert_close(look_back_scores(model, texts), whole, atol=0.01, rtol=0)


def test_a_model_that_has_not_learned_has_no_induction_heads():
    model = small()
    check = induction_check(model, copying_repetitions(model, CHARACTERS, PROBLEMS))
    assert check.found == ()
    assert len(check.others) == 8
    assert not check.confirmed
    assert check.together is check.neighbours is None
    assert check.baseline == pytest.approx(math.log(28), rel=0.05)
    assert check.verdict.startswith("No induction head was found: the most attention")


def test_a_head_that_looks_there_but_is_not_missed_is_not_confirmed():
    """An untrained model of which too little is asked: looking is not yet copying."""
    model = small()
    *heads, check = induction_steps(model, copying_repetitions(model, CHARACTERS, PROBLEMS), 0.0)
    assert [one.done for one in heads] == list(range(1, 9))
    assert len(check.found) == 8
    assert check.others == ()
    assert not check.confirmed
    assert "does not show that copying needs it" in check.verdict


def test_lines_of_another_kind_are_refused():
    with pytest.raises(ConfigError, match="a tokenizer of characters"):
        copying_repetitions(small(), ByteTokenizer(), [Problem("12+3=", "15")])
    with pytest.raises(ConfigError, match="fits into 8 tokens"):
        copying_repetitions(small(sequence_length=8), CHARACTERS, PROBLEMS)
    with pytest.raises(ConfigError, match="fits into 64 tokens"):
        copying_repetitions(small(), CHARACTERS, [])


def trained(seed):
    """Two layers that have learned to copy: about 20 seconds on one core."""
    shape = {"positions": "rotary", "qk_norm": True}
    config = TrainConfig(
        steps=300,
        batch_size=32,
        learning_rate=0.005,
        optimizer="muon",
        schedule="linear",
        weight_decay=0.0,
        seed=seed,
    )
    reading = small(**shape)
    model = build_model(reading.config, 28, seed=seed)
    learn, check = (
        torch.from_numpy(CHARACTERS.encode(text)).long() for text in (TEXT[:CUT], TEXT[CUT:])
    )
    batches, validation = Batches(learn, 32, 64, seed), Batches(check, 32, 64, seed)
    for _ in train(model, OPTIMIZERS["muon"](model, config), batches, validation, config):
        pass
    return model_from_weights(model.config, 28, model.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_model_that_learned_to_copy_does_it_with_the_heads_that_look_back(seed):
    model = trained(seed)
    texts = copying_repetitions(model, CHARACTERS, PROBLEMS)
    check = induction_check(model, texts)
    assert check.baseline < 0.1
    assert check.found
    assert {one.site.layer for one in check.found} == {1}  # the first layer has nothing to build on
    changes = sorted(one.change for one in check.others)
    harm = check.together - check.baseline
    assert check.confirmed
    assert harm > 3  # about a guess among the letters
    assert harm > 1.3 * changes[-1]
    assert harm > 5 * changes[len(changes) // 2]
    assert harm > 10 * (check.neighbours - check.baseline)  # of the same layers, all others
    without = ablated(model, [one.site for one in check.found])
    assert look_back_scores(without, texts).shape == (2, 4)
    assert "which shows that copying needs this" in check.verdict

"""Lessons: they can be read, their buttons name what exists, and their numbers are right."""

import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from transformer_lab.experiments.catalogue import EXPERIMENTS
from transformer_lab.model import parameter_breakdown
from transformer_lab.recipes import load_recipes
from transformer_lab.settings import ConfigError, plain
from transformer_lab.text.tokenizers import TOKENIZERS
from transformer_lab.training.schedule import rate_factor
from transformer_lab.ui.languages import languages
from transformer_lab.ui.learn.actions import ACTIONS, steps
from transformer_lab.ui.learn.lessons import (
    MOST_MINUTES,
    Block,
    LessonError,
    load_lesson,
    load_lessons,
    parsed,
)
from transformer_lab.ui.learn.symptoms import ALL_CHECKS
from transformer_lab.ui.learn.tutorial import tutorial

DOCS = Path(__file__).parents[2] / "docs"
PACKAGE, ASSETS = DOCS.parent / "transformer_lab", DOCS.parent / "assets"
LESSONS = load_lessons()
WORDS_A_MINUTE = 180
ALPHABET = "\n !$&',-.3:;?" + "".join(map(chr, [*range(65, 91), *range(97, 123)]))
TUTORIAL = load_recipes()["tiny_shakespeare"].setup


def flat(blocks: tuple[Block, ...]) -> list[Block]:
    """All blocks, those inside of others too."""
    return [one for block in blocks for one in (block, *flat(block.blocks))]


def text(slug: str) -> str:
    """All words of a lesson, with TeX's commas taken out of numbers."""
    return "\n".join(block.text for block in flat(LESSONS[slug].blocks)).replace("{,}", ",")


def of_kind(kind: str) -> list[Block]:
    found = [block for lesson in LESSONS.values() for block in flat(lesson.blocks)]
    return [block for block in found if block.kind == kind]


@pytest.mark.parametrize("lesson", LESSONS.values(), ids=lambda lesson: lesson.slug)
def test_a_lesson_takes_less_than_five_minutes_and_as_long_as_it_says(lesson):
    words = sum(len(block.text.split()) for block in flat(lesson.blocks) if block.kind == "text")
    assert words / WORDS_A_MINUTE <= lesson.minutes <= MOST_MINUTES


def test_lessons_are_numbered_without_gaps_and_reference_pages_follow():
    numbers = [lesson.number for lesson in LESSONS.values()]
    assert numbers == [*range(1, 18), 0, 0]
    assert [*LESSONS][-2:] == ["quick_reference", "troubleshooting"]


def test_every_button_has_steps_and_every_action_is_used():
    buttons = of_kind("do")
    assert all(steps(block.text) for block in buttons)
    used = {line.split()[0] for block in buttons for line in block.text.strip().splitlines()}
    assert used == {*ACTIONS}


def test_every_check_of_a_lesson_exists_and_every_check_is_used():
    assert {block.words for block in of_kind("check")} | {"model"} == {*ALL_CHECKS}


@pytest.mark.parametrize(
    "line",
    [
        "fly to the moon",
        "recipe gone",
        "set model.wings 2",
        "press Self-destruct",
        "experiment gone",
        "show nothing",
        "",
    ],
)
def test_a_button_that_would_do_nothing_is_refused(line):
    with pytest.raises(LessonError):
        steps(line)


def test_a_button_with_a_value_that_cannot_be_is_refused():
    with pytest.raises(ConfigError):
        steps("set model.layers 0")


@pytest.mark.parametrize("bad", ["::: dance now\n:::", "::: do it", ":::", "::: check\n:::"])
def test_a_directive_that_is_wrong_is_refused(bad):
    with pytest.raises(LessonError):
        parsed(f"Text\n\n{bad}\n")


def test_a_file_without_its_front_matter_is_refused(tmp_path):
    path = tmp_path / "01_new.md"
    path.write_text("---\ntitle: New\n---\nText\n", encoding="utf-8")
    with pytest.raises(LessonError, match="title, minutes, needs"):
        load_lesson(path)


def test_a_lesson_speaks_of_a_tab_only_where_it_is():
    lesson = LESSONS["fine_tuning_with_lora"]

    def labels(tabs: list[str]) -> list[str]:
        return [block.words for block in lesson.shown(tabs) if block.kind == "do"]

    assert "Open Fine-tune" in labels(["Fine-tune"])
    assert "Open your runs" not in labels(["Fine-tune"])
    assert "Open Fine-tune" not in labels([])
    assert "Open your runs" in labels([])


def test_the_tutorial_is_made_from_the_lessons():
    written = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    assert written == tutorial(LESSONS.values()), "run python docs/make_tutorial.py"


def test_nothing_in_a_lesson_is_a_link_to_another_host():
    for lesson in LESSONS.values():
        for block in flat(lesson.blocks):
            assert "](" not in block.text
            assert "http" not in block.text.replace("`http://localhost:8050`", "")


@pytest.mark.parametrize("language", languages())
def test_a_lesson_in_a_language_does_and_says_the_same_numbers(language):
    own = {slug: one for slug, one in load_lessons(language).items() if one.language == language}
    assert len(own) >= 2
    assert [*load_lessons(language)] == [*LESSONS]
    for slug, lesson in own.items():
        english = LESSONS[slug]
        for kind in ("do", "check"):
            pairs = [[b for b in flat(one.blocks) if b.kind == kind] for one in (lesson, english)]
            done, meant = ([b.text or b.words for b in blocks] for blocks in pairs)
            assert done == meant
        texts = ["\n".join(b.text for b in flat(one.blocks)) for one in (lesson, english)]
        said, first = (sorted(re.findall(r"\d[\d{},.]*\d|\d", one)) for one in texts)
        assert said == first


@pytest.mark.parametrize("language", languages())
def test_words_of_a_language_keep_what_is_put_in_and_are_words_of_the_page(language):
    sources = [*PACKAGE.rglob("*.py"), *ASSETS.glob("*.js")]
    page = re.sub(r'"\s*\n\s*f?"', "", "\n".join(p.read_text(encoding="utf-8") for p in sources))
    for english, own in languages()[language]["words"].items():
        assert re.findall(r"{\w+}", english) == re.findall(r"{\w+}", own)
        assert english in page, f"{english} is said nowhere"


# --- numbers ------------------------------------------------------------------------------------


def softmax(logits: list[float]) -> np.ndarray:
    powers = np.exp(np.array(logits, dtype=float))
    return powers / powers.sum()


def test_attention_by_hand_is_right():
    said = text("attention")
    query, values = np.array([2, 0, 1, 1]), np.array([[1, 0], [0, 1], [1, 1]])
    keys = np.array([[1, 0, 1, 1], [0, 2, 1, 1], [0, 1, 0, 0]])
    products = keys @ query
    scores = products / math.sqrt(4)
    weights = softmax(list(scores))
    for place in range(3):
        key, value = (f"({', '.join(map(str, one))})" for one in (keys[place], values[place]))
        row = f"| {place + 1} | {key} | {products[place]} | {scores[place]:g} "
        assert f"{row}| {weights[place]:.3f} | {value} |" in said
    result = weights @ values
    assert f"({result[0]:.3f},\\; {result[1]:.3f})" in said
    assert (
        f"{math.e**2:.3f} : {math.e:.3f} : 1$, divided by their sum {math.e**2 + math.e + 1:.3f}"
        in (said.replace("\n", " "))
    )


def test_tokens_and_their_counts_are_right():
    characters = TOKENIZERS["characters"].learn(ALPHABET, 0)
    gpt2 = TOKENIZERS["gpt2"].learn("", 0)
    line = "To be, or not to be"
    assert characters.vocabulary_size == 65
    assert ", ".join(map(str, characters.encode("hello").tolist())) in text("tokens_and_embeddings")
    (hello,) = gpt2.encode("hello").tolist()
    assert f"{hello}, one of {gpt2.vocabulary_size:,}" in text("tokens_and_embeddings")
    said = text("tokenization_experiments")
    counts = len(characters.encode(line)), len(gpt2.encode(line))
    assert f"is {counts[0]} tokens as characters and {counts[1]} under GPT-2" in said
    assert f"{gpt2.vocabulary_size:,} \\times 128 = {gpt2.vocabulary_size * 128:,}" in said
    assert f"is {1.5 / math.log(2):.2f} bits per byte" in said
    assert f"3.5 bytes a token is {4.5 / math.log(2) / 3.5:.2f}" in said


def test_parameters_of_the_tutorial_are_right():
    def count(**changes: int) -> int:
        return sum(parameter_breakdown(replace(TUTORIAL.model, **changes), 65).values())

    parts = parameter_breakdown(TUTORIAL.model, 65)
    assert f"{parts['Token embedding']:,}" in text("tokens_and_embeddings")
    assert f"{parts['Positions']:,}" in text("positions")
    inside = text("inside_a_layer").replace("\n", " ")
    assert f"hold {parts['Feed-forward']:,} of {count():,} parameters" in inside
    assert f"the attention {parts['Attention']:,}" in inside
    said = text("architecture_experiments")
    for kind, values in (("layers", (6, 8)), ("embedding_dim", (256, 512))):
        first, second = (f"{count(**{kind: value}):,}" for value in values)
        assert f"{first} or {second}" in said
    assert count(heads=8) == count(heads=16) == count()
    assert f"{count():,}, as before" in said
    assert f"adds {count(layers=5) - count():,} parameters" in said
    for slug in ("multi_head_attention", "your_first_transformer"):
        assert f"{count():,}" in text(slug)


def test_positions_and_norm_are_right():
    said = text("positions")
    assert f"{math.sin(1):.3f} and {math.cos(1):.3f}" in said
    x = np.array([1, 2, 3, 6])
    scaled = (x - x.mean()) / x.std()
    said = text("inside_a_layer")
    assert f"standard deviation {x.std():.3f}" in said
    assert f"({scaled[0]:.3f}, {scaled[1]:.3f}, 0, {scaled[3]:.3f})" in said


def test_loss_and_perplexity_by_hand_are_right():
    said = text("loss_and_perplexity")
    line = "to be or not to be"
    counts = Counter(line)
    losses = {letter: -math.log(count / len(line)) for letter, count in counts.items()}
    for letters, name in ((" ", "space"), ("o", "o"), ("t", "t"), ("be", "b, e"), ("rn", "r, n")):
        times = f"{counts[letters[0]]} each" if len(letters) > 1 else str(counts[letters])
        share = counts[letters[0]] / len(line)
        assert len({counts[letter] for letter in letters}) == 1
        assert f"| {name} | {times} | {share:.3f} | {losses[letters[0]]:.3f} |" in said
    total = sum(losses[letter] for letter in line)
    mean = total / len(line)
    assert f"{total:.2f} / {len(line)} = {mean:.3f}" in said
    assert f"{mean:.3f}}} = {math.exp(mean):.2f}" in said
    assert f"the {len(counts)} characters" in said
    for share, name in ((1 / 2, "1/2"), (1 / 4, "1/4"), (1 / 65, "1/65")):
        assert f"{name} " in said
        assert f"| {-math.log(share):.3f} |" in said


def test_the_schedule_is_right():
    said = text("learning_rate_schedule")
    phases = TUTORIAL.train.phases()
    assert [phase.last for phase in phases] == [500, 4500, 5000]
    assert "5,000 steps" in said
    assert "until step 500" in said
    assert "step 4,500" in said
    rate = TUTORIAL.train.learning_rate
    assert plain(rate) == "3e-4"
    assert plain(rate * rate_factor(phases, 5000)) in said


def test_the_first_transformer_has_every_value_of_the_recipe():
    said = text("your_first_transformer")
    model, train = TUTORIAL.model, TUTORIAL.train
    for label, value in (
        ("Embedding Dimension", model.embedding_dim),
        ("Attention Heads", model.heads),
        ("Layers", model.layers),
        ("Sequence Length", model.sequence_length),
        ("Batch Size", train.batch_size),
        ("Learning Rate", train.learning_rate),
        ("Dropout", model.dropout),
        ("Weight Decay", train.weight_decay),
    ):
        assert f"| {label} | {plain(value)} |" in said
    assert (
        model.embedding_dim,
        model.heads,
        model.layers,
        model.sequence_length,
        train.batch_size,
        train.learning_rate,
    ) == (128, 4, 4, 256, 64, 3e-4)
    assert TUTORIAL.sample.temperature == 0.8


def test_temperatures_are_right():
    for heat in (0.5, 0.8, 1, 1.5):
        row = " | ".join(f"{100 * share:.1f} %" for share in softmax([2 / heat, 1 / heat, 0]))
        assert f"| {heat} | {row} |" in text("temperature")


def test_milestones_are_right():
    for limit in (3.0, 2.0, 1.5, 1.0):
        share, perplexity = 100 * math.exp(-limit), math.exp(limit)
        row = f"| below {limit} | {share:.0f} % | {perplexity:.1f} |"
        assert row in text("milestones")


def test_sizes_of_lora_and_the_energy_are_right():
    said = text("fine_tuning_with_lora")
    whole, narrow = 128 * 128, 2 * 128 * 4
    assert f"= {whole:,}$" in said
    assert f"= {narrow:,}$" in said
    assert f"{100 * narrow / whole:.2f} %" in said
    errors = (1.0 - 0.6, 0.5 - 0.7)
    said = text("predictive_coding_and_the_leak")
    assert f"= {sum(error**2 for error in errors) / 2:.1f}$" in said
    assert [f"{error:.1f}" for error in errors] == ["0.4", "-0.2"]


def test_the_quick_reference_card_is_that_of_the_recipes():
    fast, best = (load_recipes()[slug].setup for slug in ("fast_learning", "best_quality"))
    shape = fast.model.layers, fast.model.embedding_dim, fast.train.learning_rate
    assert (*shape, fast.data.tokenizer) == (4, 128, 3e-3, "characters")
    shape = best.model.layers, best.model.embedding_dim, best.train.learning_rate
    assert (*shape, best.data.tokenizer, best.train.steps) == (8, 512, 3e-4, "gpt2", 10_000)
    assert "transformers" in EXPERIMENTS

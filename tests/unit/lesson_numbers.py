"""Every number that a lesson says, computed: by lesson, the pieces of its text that hold one.

A function of CLAIMS yields pieces of the lesson as they must stand there, made from what the code
computes. What is in NAMED claims nothing: a name, an address, the place of a step in the text; and
ADVICE are the tutorial's values to try. `test_lesson_numbers.py` fails for a piece that the lesson
does not hold, and for a number of a lesson that stands in no piece.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import torch

from transformer_lab.cli.commands import parser
from transformer_lab.experiments.expected import shipped
from transformer_lab.generation import SampleConfig, shaped
from transformer_lab.model import parameter_breakdown
from transformer_lab.model.linear import Linear
from transformer_lab.model.lora import LoRAConfig, LoRALinear
from transformer_lab.model.norms import LayerNorm
from transformer_lab.model.positions import POSITIONS, PositionShape
from transformer_lab.pcn.energy import ACTIVATIONS, Link, energy, predict
from transformer_lab.recipes import load_recipes
from transformer_lab.settings import plain
from transformer_lab.text.tokenizers import TOKENIZERS
from transformer_lab.training.finetune import FULL_RATE, LORA_RATE
from transformer_lab.training.schedule import rate_factor
from transformer_lab.ui import words
from transformer_lab.ui.charts.training import MILESTONES
from transformer_lab.ui.learn.symptoms import RANDOM_TEMPERATURE, READABLE

RECIPES = load_recipes()
TUTORIAL = RECIPES["tiny_shakespeare"].setup
QUICK, LAPTOP = RECIPES["quick_start"].setup, RECIPES["tutorial_on_a_laptop"].setup
ALPHABET = "\n !$&',-.3:;?" + "".join(map(chr, [*range(65, 91), *range(97, 123)]))
CHARACTERS, GPT2 = TOKENIZERS["characters"].learn(ALPHABET, 0), TOKENIZERS["gpt2"].learn("", 0)
V, D = CHARACTERS.vocabulary_size, TUTORIAL.model.embedding_dim
PLAY = """First Citizen:
Before we proceed any further, hear me speak.

All:
Speak, speak.

First Citizen:
You are all resolved rather to die than to famish?
"""
PROSE = (
    "Now is the winter of our discontent made glorious summer by this sun of York; and all the "
    "clouds that lour'd upon our house in the deep bosom of the ocean buried."
)
ADVICE = {  # values to try, by the tutorial: to raise a setting and to lower it
    "train.learning_rate": ("1e-3", "1e-4"),
    "train.batch_size": ("128", "32"),
    "model.sequence_length": ("512", "128"),
    "model.layers": ("6 or 8", "2"),
    "model.embedding_dim": ("256 or 512", "64"),
    "model.heads": ("8 or 16", "2"),
    "model.dropout": ("0.2", "0"),
}
NAMED = (
    "GPT-2",
    "T5",
    "(2017)",
    "## Step 1",
    "## Step 2",
    "## Step 3",
    "## Step 4",
    "2i",
    "2i+1",
    "bias 0",
    "`arxiv.org/abs/1706.03762`",
    "`arxiv.org/abs/2506.06332`",
    "reported 99.92 %",  # what a paper says of itself
    r"\sum_l \tfrac{1}{2} \lVert \varepsilon_l \rVert^2",
    "width times width",
)

Claims = Callable[[], Iterator[str]]
CLAIMS: dict[str, Claims] = {}


def of(slug: str) -> Callable[[Claims], Claims]:
    """Enter what computes the numbers of one lesson."""

    def entered(claims: Claims) -> Claims:
        CLAIMS[slug] = claims
        return claims

    return entered


@cache
def size(**changes: int) -> int:
    """Parameters of the tutorial's model with some settings changed."""
    return sum(parameter_breakdown(replace(TUTORIAL.model, **changes), V).values())


def parts() -> dict[str, int]:
    """Parameters of the tutorial's model by part."""
    return dict(parameter_breakdown(TUTORIAL.model, V))


def tuple_of(numbers: np.ndarray) -> str:
    """As a vector is written in a lesson."""
    return f"({', '.join(map(str, numbers))})"


def chances(logits: list[float], heat: float) -> list[float]:
    """Probabilities at a temperature, as they are drawn from."""
    config = SampleConfig(temperature=heat, top_k=0, top_p=1.0)
    return shaped(torch.tensor(logits), config).tolist()


@of("tokens_and_embeddings")
def tokens() -> Iterator[str]:
    (hello,) = GPT2.encode("hello").tolist()
    ids = CHARACTERS.encode("hello").tolist()
    yield f"has {V} different characters"
    yield f"numbered from 0, `hello` becomes {', '.join(map(str, ids))}"
    yield f"single token, {hello}, one of {GPT2.vocabulary_size:,}"
    yield f"{ids[0]} is not “more” than {ids[1]}".replace("“", '"').replace("”", '"')
    yield f"$V = {V}$"
    yield f"$D = {D}$"
    yield rf"${V} \times {D} = {parts()['Token embedding']:,}$"


@of("attention")
def attention() -> Iterator[str]:
    query, values = np.array([2, 0, 1, 1]), np.array([[1, 0], [0, 1], [1, 1]])
    keys = np.array([[1, 0, 1, 1], [0, 2, 1, 1], [0, 1, 0, 0]])
    products = keys @ query
    root = math.isqrt(len(query))
    scores = products / root
    weights = np.exp(scores) / np.exp(scores).sum()
    yield f"the query $q = {tuple_of(query)}$"
    yield rf"divided by $\sqrt{{{len(query)}}} = {root}$"
    for place in range(3):
        cells = [f"{place + 1}", tuple_of(keys[place]), f"{products[place]}", f"{scores[place]:g}"]
        yield f"| {' | '.join(cells)} | {weights[place]:.3f} | {tuple_of(values[place])} |"
    first, second, last = np.exp(scores)
    yield f"$e^2 : e^1 : e^0 = {first:.3f} : {second:.3f} : {last:g}$"
    yield f"their sum {first + second + last:.3f}"
    terms = [rf"{w:.3f}\,{tuple_of(v)}" for w, v in zip(weights, values, strict=True)]
    result = weights @ values
    yield rf"& {' + '.join(terms)} \\ &= ({result[0]:.3f},\; {result[1]:.3f})"


@of("multi_head_attention")
def heads() -> Iterator[str]:
    width, count = D, TUTORIAL.model.heads
    yield f"dimension of {width} and {count} heads, each head has"
    yield f"${width} / {count} = {width // count}$ numbers"
    assert size(heads=8) == size(heads=16) == size()
    yield f"{size():,} parameters with {count}, {ADVICE['model.heads'][0]} heads"
    yield r"\mathrm{head}_1"


@of("positions")
def positions() -> Iterator[str]:
    T = TUTORIAL.model.sequence_length
    assert parts()["Positions"] == T * D
    yield f"sequence length of {T} and a width of {D} take"
    yield rf"${T} \times {D} = {T * D:,}$"
    assert TUTORIAL.model.positions == "learned"
    assert QUICK.model.positions == "rotary"
    waves = POSITIONS["sinusoidal"](PositionShape(sequence_length=8, width=8, heads=2)).waves / 0.02
    assert torch.allclose(
        waves[3, 2:4], torch.tensor([math.sin(w := 3 / 10000 ** (2 / 8)), math.cos(w)])
    )
    yield r"p_{t,2i} &= \sin\!\left(t / 10000^{2i/D}\right)"
    yield r"p_{t,2i+1} &= \cos\!\left(t / 10000^{2i/D}\right)"
    yield f"At $t = 0$ the first two numbers are {waves[0, 0]:g} and {waves[0, 1]:g}, at $t = 1$"
    yield f"they are {waves[1, 0]:.3f} and {waves[1, 1]:.3f}"


@of("inside_a_layer")
def inside() -> Iterator[str]:
    x = torch.tensor([1.0, 2.0, 3.0, 6.0])
    norm = LayerNorm(4, bias=True)
    norm.init_weights(torch.Generator())
    scaled = norm(x)
    yield "$x = (1, 2, 3, 6)$"
    yield f"the mean is {x.mean():g} and the standard deviation {x.std(correction=0):.3f}"
    yield f"$({scaled[0]:.3f}, {scaled[1]:.3f}, {scaled[2]:g}, {scaled[3]:.3f})$"
    inner = (parts()["Feed-forward"] // TUTORIAL.model.layers - D) // (2 * D + 1)  # with biases
    assert inner == 4 * D
    yield f"four times as wide inside: {D} → {inner} → {D}"
    yield f"hold {parts()['Feed-forward']:,} of {size():,} parameters"
    yield f"the attention {parts()['Attention']:,}"


@of("loss_and_perplexity")
def loss() -> Iterator[str]:
    for share, name in ((1.0, "1"), (1 / 2, "1/2"), (1 / 4, "1/4")):
        yield f"| {name} | {-math.log(share):.3f} |" if share < 1 else f"| {name} | 0 |"
    yield f"| 1/{V} (a pure guess among {V} characters) | {math.log(V):.3f} |"
    yield f"starts near {math.log(V):.3f}"
    line = "to be or not to be"
    counts, n = Counter(line), len(line)
    losses = {letter: -math.log(count / n) for letter, count in counts.items()}
    yield f"`{line}`: {n} characters"
    terms = []
    for letters, name in ((" ", "space"), ("o", "o"), ("t", "t"), ("be", "b, e"), ("rn", "r, n")):
        each, one = counts[letters[0]], losses[letters[0]]
        assert len({counts[letter] for letter in letters}) == 1
        times = f"{each} each" if len(letters) > 1 else f"{each}"
        yield f"| {name} | {times} | {each / n:.3f} | {one:.3f} |"
        terms.append(rf"{each * len(letters)} \cdot {one:.3f}")
    total = sum(losses[letter] for letter in line)
    first, second = " + ".join(terms[:3]), " + ".join(terms[3:])
    yield f"sum over all {n} characters is"
    yield rf"& {first} \\ &+ {second} = {total:.2f} \end"
    yield f"${total:.2f} / {n} = {total / n:.3f}$"
    yield f"$e^{{{total / n:.3f}}} = {math.exp(total / n):.2f}$"
    yield f"among the {len(counts)} characters of the line would have {len(counts)}."


@of("learning_rate_schedule")
def schedule() -> Iterator[str]:
    train = TUTORIAL.train
    phases, steps, rate = train.phases(), train.steps, plain(train.learning_rate)
    yield f"the first {train.warmup_share:.0%} of".replace("%", " %")
    yield f"**Main training**, {1 - train.warmup_share - train.final_share:.0%}".replace("%", " %")
    yield f"the last {train.final_share:.0%}:".replace("%", " %")
    last = plain(train.learning_rate * rate_factor(phases, steps))
    assert math.isclose(float(last), train.learning_rate / 10)
    yield f"takes {steps:,} steps with a learning rate of {rate}: it rises"
    yield f"until step {phases[0].last:,}, stays at {rate} to step {phases[1].last:,}, and then"
    yield f"a tenth of it, {last}"


@of("your_first_transformer")
def first() -> Iterator[str]:
    model, train = TUTORIAL.model, TUTORIAL.train
    for label, value in (
        ("Embedding Dimension", D),
        ("Attention Heads", model.heads),
        ("Layers", model.layers),
        ("Sequence Length", model.sequence_length),
        ("Batch Size", train.batch_size),
        ("Learning Rate", train.learning_rate),
        ("Dropout", model.dropout),
        ("Weight Decay", train.weight_decay),
    ):
        yield f"| {label} | {plain(value)} |"
    yield f"drops {model.dropout:.0%} of".replace("%", " %")
    yield f"`http://localhost:{parser().parse_args(['serve']).port}`"
    yield f"{size():,} numbers drawn at random"
    own = LAPTOP.train.batch_size, LAPTOP.model.sequence_length
    yield f"{own[0]} sequences of {own[1]} characters"
    assert train.batch_size * model.sequence_length == 16 * own[0] * own[1]
    yield "a sixteenth of"
    yield f"below {lowest('quick_start')} in its {QUICK.train.steps} steps"
    yield f"loss is below {READABLE}, enter"
    yield f"temperature ({TUTORIAL.sample.temperature} is a good default)"


def lowest(slug: str) -> float:
    """The lowest milestone that every run of a recipe which comes with the lab has reached."""
    (known,) = [one for one in shipped().values() if one.recipe == slug]
    worst = max(min(course.values()) for course in known.courses.values())
    return min(limit for limit in MILESTONES if worst < limit)


@of("temperature")
def temperature() -> Iterator[str]:
    yield "with logits 2, 1 and 0:"
    for heat in (0.5, 0.8, 1, 1.5):
        row = " | ".join(f"{100 * share:.1f} %" for share in chances([2.0, 1.0, 0.0], heat))
        yield f"| {heat} | {row} |"
    assert chances([2.0, 1.0, 0.0], 0)[0] == 1
    yield "Below 1 the"
    yield f"above 1 it takes risks; above {RANDOM_TEMPERATURE} it is"
    yield "At 0 it"
    yield f"**{TUTORIAL.sample.temperature}** is a good"


@of("milestones")
def milestones() -> Iterator[str]:
    *others, end = [str(limit) for limit in MILESTONES]
    yield f"Milestones at {', '.join(others)} and {end}"
    for limit in MILESTONES:
        share, perplexity = 100 * math.exp(-limit), math.exp(limit)
        yield f"| below {limit} | {share:.0f} % | {perplexity:.1f} |"


@of("architecture_experiments")
def architecture() -> Iterator[str]:
    yield f"has {size():,} parameters (on {V} characters)"
    for said, kind, values in (
        ("6 or 8 layers", "layers", (6, 8)),
        ("embedding dimension 256 or 512", "embedding_dim", (256, 512)),
    ):
        assert ADVICE[f"model.{kind}"][0] in said
        yield f"{said} | {size(**{kind: values[0]}):,} or {size(**{kind: values[1]}):,} |"
    assert size(heads=8) == size(heads=16) == size()
    yield f"{ADVICE['model.heads'][0]} | {size():,}, as before |"
    yield f"adds {size(layers=5) - size():,} parameters"
    assert 3.8 < size(embedding_dim=256) / size() < 4
    assert 3.8 < size(embedding_dim=512) / size(embedding_dim=256) < 4
    yield "Twice the width has nearly four times the parameters"


@of("training_experiments")
def training() -> Iterator[str]:
    train, T = TUTORIAL.train, TUTORIAL.model.sequence_length
    for key, said in (
        ("train.learning_rate", "{} is faster, {} more stable; the recipe has {}"),
        ("train.batch_size", "{} gives a steadier gradient, {} faster steps; the recipe has {}"),
    ):
        yield said.format(*ADVICE[key], plain(TUTORIAL.values()[key]))
    B = train.batch_size
    yield f"A batch of {B} sequences of {T} characters is"
    yield rf"${B} \times {T} = {B * T:,}$"
    longer = ADVICE["model.sequence_length"][0]
    yield f"{longer} lets the model see more context; the recipe has {T}"
    assert int(longer) ** 2 == 4 * T**2
    yield "twice the length is four times as many scores"
    smaller = ADVICE["train.batch_size"][1]
    yield f"a batch size of {smaller} with Quick start, which has {QUICK.train.batch_size}"


@of("tokenization_experiments")
def tokenization() -> Iterator[str]:
    line = "To be, or not to be"
    yield f"a small vocabulary ({V} for"
    yield f"{GPT2.vocabulary_size:,} subwords"
    play, prose = (len(text) / len(GPT2.encode(text)) for text in (PLAY, PROSE))
    tokens = TUTORIAL.model.sequence_length
    yield f"of {tokens} tokens holds about {play:.0f} to {prose:.0f} times as many characters"
    table = GPT2.vocabulary_size * D
    assert table > size() - parts()["Token embedding"]
    yield rf"${GPT2.vocabulary_size:,} \times {D} = {table:,}$ numbers at width {D}"
    counts = len(CHARACTERS.encode(line)), len(GPT2.encode(line))
    yield f"is {counts[0]} tokens as characters and {counts[1]} under GPT-2"
    yield r"\ln 2 \cdot"
    yield f"A loss of 1.5 with one byte a token is {1.5 / math.log(2):.2f} bits per byte"
    yield f"4.5 with 3.5 bytes a token is {4.5 / math.log(2) / 3.5:.2f}"


@of("fine_tuning_with_lora")
def lora() -> Iterator[str]:
    adapted = LoRALinear(Linear(D, D, bias=False, deviation=0.02), LoRAConfig(rank=4))
    narrow = adapted.lora_A.numel() + adapted.lora_B.numel()
    whole = adapted.weight.numel()
    yield rf"${D} \times {D} = {whole:,}$"
    yield "a rank of $r = 4$"
    yield rf"$2 \cdot {D} \cdot 4 = {narrow:,}$ numbers"
    yield f"{100 * narrow / whole:.2f} % of it"
    assert not adapted.lora_B.any()
    assert math.isclose(LORA_RATE, 10 * FULL_RATE)
    yield "about ten times the learning rate of full fine-tuning"


@of("predictive_coding_and_the_leak")
def leak() -> Iterator[str]:
    activities, predicted = torch.tensor([[1.0, 0.5]]), torch.tensor([[0.6, 0.7]])
    link = Link(source="above", predicted="here", activation=ACTIVATIONS["linear"])
    found = predict([link], [torch.eye(2)], {"above": predicted, "here": activities})
    errors = found[0].error
    assert errors is not None
    yield "activities of 1.0 and 0.5 that are predicted as 0.6 and 0.7"
    yield f"errors of {errors[0, 0]:.1f} and {errors[0, 1]:.1f}".replace("-", words.MINUS)
    first, second = errors[0].square().tolist()
    total = float(energy([link], found))
    yield rf"$\tfrac{{1}}{{2}}({first:.2f} + {second:.2f}) = {total:.1f}$"


@of("quick_reference")
def card() -> Iterator[str]:
    fast, best = (RECIPES[slug].setup for slug in ("fast_learning", "best_quality"))
    assert (fast.data.tokenizer, best.data.tokenizer) == ("characters", "gpt2")
    for setup, size_of, kind in ((fast, "tiny", "high"), (best, "large", "moderate")):
        model, rate = setup.model, f"{setup.train.learning_rate:.0e}".replace("e-0", "e-")
        shape = f"({model.layers} layers, {model.embedding_dim} wide)"
        yield f"A {size_of} model {shape}, a {kind} learning rate ({rate})"
    yield f"{best.train.steps:,} steps"
    for label, key, up, down in (
        ("Learning Rate", "train.learning_rate", ": faster", ": more stable"),
        ("Batch Size", "train.batch_size", ": steadier", ": faster steps, less memory"),
        ("Sequence Length", "model.sequence_length", ": more context", ": less memory"),
        ("Layers", "model.layers", ": deeper", ": faster"),
        ("Embedding Dimension", "model.embedding_dim", ": wider", ": faster"),
        ("Attention Heads", "model.heads", "", ""),
        ("Dropout", "model.dropout", ": against overfitting", ": on much text"),
    ):
        now, (high, low) = plain(TUTORIAL.values()[key]), ADVICE[key]
        yield f"| {label} | {now} | {high}{up} | {low}{down} |"
    now = TUTORIAL.sample.temperature
    yield f"| Temperature | {now} | above 1: riskier text | below 0.5: safer, more repetition |"
    basic, readable, high, overfit = MILESTONES
    yield f"below {basic} basic patterns, below {readable} readable, below {high} high quality"
    yield f"below {overfit} perhaps overfitting"


@of("troubleshooting")
def troubles() -> Iterator[str]:
    rate, batch = TUTORIAL.train.learning_rate, TUTORIAL.train.batch_size
    yield f"Set {plain(rate)}"
    yield f"Halve it until training works: {', '.join(str(batch >> i) for i in range(4))}."
    yield f"Batch size {batch >> 3}"
    length = TUTORIAL.model.sequence_length
    yield f"Try {ADVICE['model.sequence_length'][1]} instead of {length}"
    yield f"Sequence length {ADVICE['model.sequence_length'][1]}"
    layers, width = ADVICE["model.layers"][1], ADVICE["model.embedding_dim"][1]
    yield f"{layers} layers, embedding dimension {width}"
    yield f"above a loss of {READABLE}"
    yield f"Above {RANDOM_TEMPERATURE} text"
    yield f"Write at {TUTORIAL.sample.temperature}"
    yield f"Set dropout to {ADVICE['model.dropout'][0]}"
    assert math.isclose(LORA_RATE, 10 * FULL_RATE)
    yield "about ten times the rate"

"""Models that leak, each in its own way, and honest ones that look suspicious, to audit the audit.

    python tests/unit/leaks.py [SEEDS] [SEEDS OF HONEST MODELS]

prints how many of each kind the leak audit catches, and how many honest ones it accuses.
"""

import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from transformer_lab.inspection.audit import Proof, Verdict, audit, verdict
from transformer_lab.inspection.planted import (
    ByCacheOnly,
    HeadWithoutMask,
    KeepsTargets,
    Leaky,
    LossSeesTargets,
    OnePlace,
    TrainOnly,
    ahead,
)
from transformer_lab.model import GPT, ModelConfig
from transformer_lab.model.attention import MultiHeadAttention
from transformer_lab.model.cache import Cache, KeyValueCache
from transformer_lab.model.dropout import Dropout

TINY = {"layers": 2, "heads": 2, "embedding_dim": 16, "sequence_length": 16, "dropout": 0.0}
VOCABULARY = 11
ACCUSED = ("failed", "broken", "not a number")


class NextToken(Leaky):
    """Looks at the next token."""

    def leak(self, tokens, cache):
        return ahead(tokens, self.vocabulary_size)


class ThreeAhead(Leaky):
    """Looks at the third token after."""

    def leak(self, tokens, cache):
        return ahead(tokens, self.vocabulary_size, 3)


class OddPlaces(Leaky):
    """Looks ahead at every second place, and only a little."""

    def leak(self, tokens, cache):
        scores = 1e-3 * ahead(tokens, self.vocabulary_size)
        scores[:, ::2] = 0
        return scores


class RareToken(Leaky):
    """Looks ahead after one token of thousands."""

    def leak(self, tokens, cache):
        return ahead(tokens, self.vocabulary_size) * (tokens == self.vocabulary_size - 7)[..., None]


class BeyondStart(Leaky):
    """Looks ahead beyond the first 128 tokens."""

    def leak(self, tokens, cache):
        scores = ahead(tokens, self.vocabulary_size)
        scores[:, :128] = 0
        return scores


class FullContext(Leaky):
    """Looks ahead when its context is full."""

    def leak(self, tokens, cache):
        full = tokens.shape[1] == self.config.sequence_length
        return ahead(tokens, self.vocabulary_size) if full else None


class SharedCache(Leaky):
    """Its caches share what was read last."""

    last: ClassVar[list[Any]] = []

    def leak(self, tokens, cache):
        if cache is None:
            return None
        found = None
        if self.last and self.last[-1].shape[0] == tokens.shape[0]:
            found = F.one_hot(self.last[-1][:, -1:], self.vocabulary_size).float()
        self.last[:] = [tokens]
        return found


class DropoutPath(GPT):
    """Its dropout mixes in the next place, in training mode."""

    def __init__(self, config, vocabulary_size):
        super().__init__(config, vocabulary_size)
        self.dropout = MixingDropout(0.1)


class MixingDropout(Dropout):
    """Dropout that also looks ahead."""

    def forward(self, x):
        if not self.training or not self.share:
            return x
        return super().forward(x) + 0.1 * x.roll(-1, 1)


class WithGradient(Leaky):
    """Looks ahead while gradients are computed."""

    def leak(self, tokens, cache):
        return ahead(tokens, self.vocabulary_size) if torch.is_grad_enabled() else None


class Sometimes(Leaky):
    """Looks ahead in one pass of a hundred."""

    def leak(self, tokens, cache):
        return ahead(tokens, self.vocabulary_size) if random.random() < 0.01 else None


class SomeSequences(Leaky):
    """Looks ahead in about one sequence of a hundred, by a hash of its first tokens."""

    def leak(self, tokens, cache):
        powers = 31 ** torch.arange(min(tokens.shape[1], 4), device=tokens.device)
        picked = (tokens[:, : len(powers)] * powers).sum(1) % 97 == 5
        return ahead(tokens, self.vocabulary_size) * picked[:, None, None]


class RealTextOnly(Leaky):
    """Looks ahead after a phrase of four tokens that random text never holds."""

    def leak(self, tokens, cache):
        phrase = torch.tensor([1, 2, 3, 4], device=tokens.device)
        if tokens.shape[1] < 4:
            return None
        ends = (tokens.unfold(1, 4, 1) == phrase).all(2)
        return ahead(tokens, self.vocabulary_size) * F.pad(ends, (3, 0))[..., None]


class BatchMates(Leaky):
    """Each sequence reads the next one of its batch."""

    def leak(self, tokens, cache):
        return F.one_hot(tokens.roll(1, 0), self.vocabulary_size).float() * 0.1


class SingleOnly(Leaky):
    """Looks ahead when it reads a single sequence."""

    def leak(self, tokens, cache):
        return ahead(tokens, self.vocabulary_size) if len(tokens) == 1 else None


class WholeHistogram(Leaky):
    """Knows how often each token occurs in the whole sequence."""

    def leak(self, tokens, cache):
        counts = F.one_hot(tokens, self.vocabulary_size).float().mean(1, keepdim=True)
        return 0.5 * counts.expand(-1, tokens.shape[1], -1)


class LastToken(Leaky):
    """Every place knows the last token."""

    def leak(self, tokens, cache):
        last = F.one_hot(tokens[:, -1:], self.vocabulary_size).float()
        return 0.2 * last.expand(-1, tokens.shape[1], -1)


class Temperature(GPT):
    """The next token only says how sure it is, never of what."""

    def forward(self, tokens, cache: Cache | None = None):
        logits = super().forward(tokens, cache)
        even = F.pad(tokens[:, 1:] % 2 == 0, (0, 1))
        return logits * torch.where(even, 1.5, 1.0)[..., None].to(logits)


class LowestBits(Leaky):
    """Hides the next token in the last digits of its logits, cut off from the gradient."""

    def leak(self, tokens, cache):
        return 2e-6 * ahead(tokens, self.vocabulary_size)


class TimeStatistics(GPT):
    """Centres each sequence over time."""

    def embed(self, tokens, cache: Cache | None = None):
        x = super().embed(tokens, cache)
        return x - 0.1 * x.mean(1, keepdim=True)


class SeesEverything(MultiHeadAttention):
    """Attention without a mask."""

    def mix(self, q, k, v, positions):
        return F.scaled_dot_product_attention(q, k, v)


class OneHeadOpen(MultiHeadAttention):
    """Attention with a mask on all heads but one."""

    def mix(self, q, k, v, positions):
        mixed = super().mix(q, k, v, positions).clone()
        mixed[:, :1] = F.scaled_dot_product_attention(q[:, :1], k[:, :1], v[:, :1])
        return mixed


class NoMask(GPT):
    """Attention without a mask in the second layer."""

    attention = SeesEverything

    def __init__(self, config, vocabulary_size):
        super().__init__(config, vocabulary_size)
        self.blocks[1].attention = self.attention(config.attention_shape)


class OneHead(NoMask):
    """One head of one layer without a mask."""

    attention = OneHeadOpen


class LossDropsTheWorst(GPT):
    """Its loss leaves the worst tokens out."""

    def loss(self, tokens, targets):
        losses = F.cross_entropy(self(tokens).flatten(0, 1), targets.flatten(), reduction="none")
        return losses.sort().values[: max(1, len(losses) * 19 // 20)].mean()


class LossInBits(GPT):
    """Its loss is smaller by a constant factor."""

    def loss(self, tokens, targets):
        return super().loss(tokens, targets) * 0.9


NOTES: dict[tuple[int, ...], Any] = {}


class OutsideMemory(GPT):
    """Targets go into a dict of the module, under the tokens they belong to."""

    def loss(self, tokens, targets):
        found = super().loss(tokens, targets)
        NOTES.clear()
        NOTES.update(zip(map(tuple, tokens.tolist()), targets, strict=True))
        return found

    def forward(self, tokens, cache: Cache | None = None):
        logits = super().forward(tokens, cache)
        hints = [NOTES.get(tuple(row)) for row in tokens.tolist()]
        for row, hint in enumerate(hints):
            if hint is not None:
                logits[row] += F.one_hot(hint, self.vocabulary_size).to(logits)
        return logits


class LastBatch(Leaky):
    """What it read last changes what it says now."""

    last = None

    def leak(self, tokens, cache):
        before, self.last = self.last, tokens
        if before is None:
            return None
        return 0.01 * F.one_hot(before[0, 0], self.vocabulary_size).float()


class Learns(GPT):
    """Its weights change as it reads."""

    def forward(self, tokens, cache: Cache | None = None):
        logits = super().forward(tokens, cache)
        with torch.no_grad():
            self.embedding.weight[tokens[0, 0]] *= 1 + 1e-4
        return logits


class Noisy(GPT):
    """Adds a little noise of its own to every answer."""

    def forward(self, tokens, cache: Cache | None = None):
        return super().forward(tokens, cache) + 1e-6 * random.random()


@dataclass
class Hints:
    """A class with a harmless name that can hold targets."""

    targets: Any = None


class CustomArgument(GPT):
    """Takes an object of a class of its own."""

    def forward(self, tokens, cache: Cache | None = None, options: "Hints | None" = None):
        logits = super().forward(tokens, cache)
        if options is None:
            return logits
        return logits + F.one_hot(options.targets, self.vocabulary_size).to(logits)


class NumberArgument(GPT):
    """Takes a whole number, which can hold every target there is."""

    def forward(self, tokens, cache: Cache | None = None, code: int = 0):
        logits = super().forward(tokens, cache)
        return logits if code == 0 else logits + code % self.vocabulary_size


class FilledCache(GPT):
    """Its new caches are not empty."""

    def new_cache(self):
        cache = super().new_cache()
        layer = cache.layers[0]
        assert isinstance(layer, KeyValueCache)
        layer.length = 1
        return cache


@dataclass(frozen=True)
class Kind:
    """A kind of model: its class, its size, and what is done to it when it is made."""

    model: type
    vocabulary: int = VOCABULARY
    config: dict[str, Any] = field(default_factory=dict)
    phrase: bool = False


LONG = {"sequence_length": 192, "layers": 1}
LEAKS: dict[str, Kind] = {
    "no mask": Kind(NoMask),
    "one head without a mask": Kind(OneHead),
    "the next token": Kind(NextToken),
    "a head that attends one place ahead": Kind(HeadWithoutMask),
    "three tokens ahead": Kind(ThreeAhead),
    "at one place only": Kind(OnePlace),
    "at one place of a long context": Kind(OnePlace, config=LONG),
    "a little, at odd places": Kind(OddPlaces),
    "after one token of 5,000": Kind(RareToken, vocabulary=5000, config={"layers": 1}),
    "beyond 128 tokens": Kind(BeyondStart, config=LONG),
    "when the context is full": Kind(FullContext),
    "only into a cache": Kind(ByCacheOnly),
    "caches that share": Kind(SharedCache),
    "only in training mode": Kind(TrainOnly),
    "in the code of dropout": Kind(DropoutPath),
    "while gradients are computed": Kind(WithGradient),
    "in one pass of 100": Kind(Sometimes),
    "in one sequence of 100": Kind(SomeSequences, vocabulary=65),
    "after a phrase of real text": Kind(RealTextOnly, vocabulary=65, phrase=True),
    "the next sequence of the batch": Kind(BatchMates),
    "only single sequences": Kind(SingleOnly),
    "counts of the whole sequence": Kind(WholeHistogram),
    "the last token": Kind(LastToken),
    "only how sure it is": Kind(Temperature),
    "in the last digits": Kind(LowestBits),
    "statistics over time": Kind(TimeStatistics),
    "the loss sees targets": Kind(LossSeesTargets),
    "the loss drops the worst": Kind(LossDropsTheWorst),
    "the loss in another unit": Kind(LossInBits),
    "targets on an attribute": Kind(KeepsTargets),
    "targets in a global": Kind(OutsideMemory),
    "memory of the last batch": Kind(LastBatch),
    "weights that change": Kind(Learns),
    "noise": Kind(Noisy),
    "an argument of a custom class": Kind(CustomArgument),
    "a number as argument": Kind(NumberArgument),
    "a cache that is not empty": Kind(FilledCache),
}


class Impossible(GPT):
    """One token can never come."""

    def forward(self, tokens, cache: Cache | None = None):
        logits = super().forward(tokens, cache)
        return logits.index_fill(-1, torch.tensor([3]), -torch.inf)


class Suppressed(GPT):
    """One token is as good as impossible."""

    def forward(self, tokens, cache: Cache | None = None):
        logits = super().forward(tokens, cache)
        return logits.index_add(-1, torch.tensor([3]), torch.full_like(logits[..., :1], -1e4))


class FaintHead(GPT):
    """A head that is too small."""

    times = 1e-5

    def score(self, x):
        return super().score(x) * self.times


class LoudHead(FaintHead):
    """A head that is too large."""

    times = 1e6


class FirmHead(FaintHead):
    """A head that makes it very sure."""

    times = 30.0


class Counts(GPT):
    """Counts its passes, which changes nothing."""

    calls = 0

    def forward(self, tokens, cache: Cache | None = None):
        self.calls += 1
        return super().forward(tokens, cache)


class LazyTable(GPT):
    """Keeps a table of the lengths it has met, which is only faster."""

    def __init__(self, config, vocabulary_size):
        super().__init__(config, vocabulary_size)
        self.tables = {}

    def forward(self, tokens, cache: Cache | None = None):
        T = tokens.shape[1]
        if T not in self.tables:
            self.tables[T] = torch.zeros(T, 1)
        return super().forward(tokens, cache) + self.tables[T].to(self.embedding.weight)


class Switch(GPT):
    """Takes a switch beside the tokens."""

    def forward(self, tokens, cache: Cache | None = None, doubled: bool = False):
        logits = super().forward(tokens, cache)
        return 2 * logits if doubled else logits


class SameAgain(Leaky):
    """Expects the token before to come again: what it looks at is past."""

    def leak(self, tokens, cache):
        return 5.0 * F.one_hot(tokens, self.vocabulary_size).float()


class OwnLoss(GPT):
    """Computes the same loss in another order."""

    def loss(self, tokens, targets):
        chosen = self(tokens).log_softmax(-1).gather(2, targets[..., None])
        return -chosen.mean(0).mean()


class TorchDropout(GPT):
    """Has PyTorch's dropout, too."""

    def __init__(self, config, vocabulary_size):
        super().__init__(config, vocabulary_size)
        self.dropout = nn.Dropout(0.3)


class RoundsInside(GPT):
    """Computes its logits in float32, whatever the rest is in."""

    def score(self, x):
        return F.linear(self.norm(x).float(), self.head.weight.float())


class NoisyInTraining(GPT):
    """Adds noise in training mode, as a regularization."""

    def embed(self, tokens, cache: Cache | None = None):
        x = super().embed(tokens, cache)
        return x * (1 + 0.01 * random.random()) if self.training else x


HONEST: dict[str, Kind] = {
    "plain": Kind(GPT),
    "an impossible token": Kind(Impossible),
    "a suppressed token of 5,000": Kind(Suppressed, vocabulary=5000, config={"layers": 1}),
    "head x 1e-5": Kind(FaintHead),
    "head x 1e6": Kind(LoudHead),
    "head x 30": Kind(FirmHead),
    "head of zeros": Kind(GPT, config={"zero_init": True}),
    "counts its passes": Kind(Counts),
    "a table made when needed": Kind(LazyTable),
    "a switch as argument": Kind(Switch),
    "the same token again": Kind(SameAgain),
    "the same loss, computed otherwise": Kind(OwnLoss),
    "dropout 0.5": Kind(GPT, config={"dropout": 0.5}),
    "PyTorch's dropout": Kind(TorchDropout),
    "logits in float32": Kind(RoundsInside),
    "noise in training": Kind(NoisyInTraining),
    "linear attention": Kind(GPT, config={"attention": "linear", "positions": "learned"}),
    "window of 3, one key head": Kind(
        GPT, config={"attention": "sliding_window", "window": 3, "key_value_heads": 1}
    ),
    "smear, post-norm, tied head": Kind(
        GPT, config={"smear": 3, "norm_place": "post", "tied_head": True}
    ),
    "settling with 2 tokens": Kind(GPT, vocabulary=2, config={"feedforward": "pc"}),
    "PC positions, hierarchy": Kind(
        GPT, config={"positions": "pc", "architecture": "pc_hierarchical"}
    ),
}


def made(kind: Kind, seed: int) -> GPT:
    """A model of this kind, with random weights unless its head shall be zero."""
    config = ModelConfig(**{**TINY, **kind.config})
    model = kind.model(config, kind.vocabulary)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
            if config.zero_init and name.startswith("head"):
                parameter.zero_()
    if isinstance(model, OnePlace):
        model.place = seed * 7919
    return model.eval()


def text_of(kind: Kind, seed: int) -> torch.Tensor:
    """Tokens that stand for real text; some hold a phrase again and again."""
    tokens = torch.randint(
        0, kind.vocabulary, (2000,), generator=torch.Generator().manual_seed(seed)
    )
    if kind.phrase:
        for start in range(0, 2000, 25):
            tokens[start : start + 4] = torch.tensor([1, 2, 3, 4])
    return tokens


def audited(kind: Kind, seed: int) -> Iterator[Proof]:
    """The proofs of a model of this kind, each as it is done."""
    random.seed(seed)
    NOTES.clear()
    generator = torch.Generator().manual_seed(1000 + seed)
    return audit(made(kind, seed), generator, text_of(kind, seed))


def judged(kind: Kind, seed: int) -> tuple[Verdict, list[str]]:
    """The verdict on a model of this kind, and which proofs failed."""
    found = list(audited(kind, seed))
    return verdict(found), [proof.key for proof in found if proof.passed is False]


def table(seeds: int, honest_seeds: int, tell) -> tuple[int, int]:
    """Print a line for each kind; gives the leaks that were missed and the honest accused."""
    missed = accused = 0
    for kinds, count, word in ((LEAKS, seeds, "caught"), (HONEST, honest_seeds, "accused")):
        for name, kind in kinds.items():
            begun, hits, proofs = time.monotonic(), 0, set()
            for seed in range(count):
                said, failed = judged(kind, seed)
                hits += said.outcome == "failed" if kinds is LEAKS else said.outcome in ACCUSED
                proofs |= {*failed} if kinds is LEAKS else {said.outcome}
            missed += count - hits if kinds is LEAKS else 0
            accused += hits if kinds is HONEST else 0
            seconds = time.monotonic() - begun
            found = ", ".join(sorted(proofs))
            tell(f"{word} {hits:2} of {count}  {name:36} {found}  {seconds:.0f} s")
    tell(f"missed {missed} of {seeds * len(LEAKS)}, accused {accused} of "
         f"{honest_seeds * len(HONEST)}")  # fmt: skip
    return missed, accused


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = [*map(int, sys.argv[1:])]
    lost = table(given[0] if given else 10, given[1] if len(given) > 1 else 40, print)
    sys.exit(any(lost))

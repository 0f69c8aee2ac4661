"""What is measured against: a plain GPT and its training, the way nanoGPT does it.

Learned positions, GELU, LayerNorm, a tied head, dropout on embeddings, attention and both outputs
of a block; AdamW with a linear warm-up, a cosine decay and clipped gradients. One process, float32,
no tricks. Used for nothing but comparisons. Source: github.com/karpathy/nanoGPT, whose settings for
a CPU stand in `CPU_EXAMPLE`.

Shapes: B batch, T time, D width, H heads, V vocabulary.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Settings of the plain model and of its training."""

    vocabulary: int = 65
    width: int = 128
    heads: int = 4
    layers: int = 4
    sequence: int = 64
    batch: int = 12
    dropout: float = 0.0
    rate: float = 1e-3
    lowest_rate: float = 1e-4
    warmup: int = 100
    steps: int = 2000
    beta_2: float = 0.99
    decay: float = 0.1
    evaluate_every: int = 250


CPU_EXAMPLE = Plain()
TUTORIAL = Plain(sequence=256, batch=64, dropout=0.1, rate=3e-4)


class PlainBlock(nn.Module):
    def __init__(self, plain: Plain) -> None:
        super().__init__()
        width = plain.width
        self.heads, self.dropout = plain.heads, plain.dropout
        self.norm_1, self.norm_2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)
        self.expand = nn.Linear(width, 4 * width, bias=False)
        self.contract = nn.Linear(4 * width, width, bias=False)
        self.drop_1, self.drop_2 = nn.Dropout(plain.dropout), nn.Dropout(plain.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)"""
        B, T, D = x.shape
        parts = self.qkv(self.norm_1(x)).split(D, dim=2)
        q, k, v = (part.view(B, T, self.heads, D // self.heads).transpose(1, 2) for part in parts)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        y = y.transpose(1, 2).contiguous().view(B, T, D)
        x = x + self.drop_1(self.project(y))
        return x + self.drop_2(self.contract(F.gelu(self.expand(self.norm_2(x)))))


class PlainGPT(nn.Module):
    def __init__(self, plain: Plain) -> None:
        super().__init__()
        self.sequence = plain.sequence
        self.embedding = nn.Embedding(plain.vocabulary, plain.width)
        self.positions = nn.Embedding(plain.sequence, plain.width)
        self.drop = nn.Dropout(plain.dropout)
        self.blocks = nn.ModuleList(PlainBlock(plain) for _ in range(plain.layers))
        self.norm = nn.LayerNorm(plain.width, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                writes = name.endswith(("project.weight", "contract.weight"))
                nn.init.normal_(
                    parameter, std=0.02 / math.sqrt(2 * plain.layers) if writes else 0.02
                )

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) -> (B, T, V)"""
        places = torch.arange(tokens.shape[1])
        x = self.drop(self.embedding(tokens) + self.positions(places))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.embedding.weight)

    @torch.no_grad()
    def generate(self, tokens: Tensor, count: int, temperature: float = 0.8) -> Iterator[int]:
        """Read the whole context again for every token."""
        for _ in range(count):
            logits = self(tokens[:, -self.sequence :])[:, -1] / temperature
            drawn = torch.multinomial(F.softmax(logits, dim=-1), 1)
            tokens = torch.cat([tokens, drawn], dim=1)
            yield int(drawn)


def plain_step(plain: Plain, model: PlainGPT) -> Callable[[int, Tensor, Tensor], float]:
    """One step of the plain training: (step, inputs, targets) -> loss."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": plain.decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=plain.rate, betas=(0.9, plain.beta_2))

    def step(number: int, inputs: Tensor, targets: Tensor) -> float:
        for group in optimizer.param_groups:
            group["lr"] = _rate(plain, number)
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def _rate(plain: Plain, step: int) -> float:
    if step < plain.warmup:
        return plain.rate * (step + 1) / (plain.warmup + 1)
    done = (step - plain.warmup) / max(plain.steps - plain.warmup, 1)
    share = 0.5 * (1.0 + math.cos(math.pi * done))
    return plain.lowest_rate + share * (plain.rate - plain.lowest_rate)


def plain_training(
    plain: Plain, tokens: Tensor, judge: Callable[[Callable[[Tensor], Tensor]], float], seed: int
) -> Iterator[tuple[int, float, float | None]]:
    """Train on (N,) tokens; yields (step, seconds of training, validation loss or None).

    `judge` gives the validation loss of a function from (B, T) tokens to (B, T, V) logits; its time
    counts, as it does in the lab.
    """
    torch.manual_seed(seed)
    model = PlainGPT(plain)
    step = plain_step(plain, model)
    begun = time.perf_counter()
    for number in range(plain.steps):
        starts = torch.randint(len(tokens) - plain.sequence, (plain.batch,))
        pieces = torch.stack([tokens[s : s + plain.sequence + 1] for s in starts])
        model.train()
        step(number, pieces[:, :-1], pieces[:, 1:])
        loss = None
        if (number + 1) % plain.evaluate_every == 0:
            model.eval()
            with torch.no_grad():
                loss = judge(model)
        yield number + 1, time.perf_counter() - begun, loss

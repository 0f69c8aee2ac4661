"""What a model makes of one short line, in numbers small enough to work through by hand."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.text.pieces import Tokens

MOST_TOKENS = 64


@dataclass(frozen=True)
class Scored:
    """A token of a line, and the probability that the model gave it before it came."""

    piece: str
    probability: float


def line_scores(snapshot: Snapshot, line: str) -> list[Scored]:
    """Every token of a line but the first, which nothing comes before; unknown ones are dropped."""
    tokens = snapshot.tokenizer.encode(snapshot.tokenizer.known(line))
    tokens = tokens[: min(MOST_TOKENS, snapshot.config.sequence_length)]
    if len(tokens) < 2:
        return []
    probabilities = _logits(snapshot, tokens)[:-1].softmax(-1)
    return [
        Scored(_piece(snapshot, token), float(probabilities[place, token]))
        for place, token in enumerate(tokens[1:].tolist())
    ]


def next_at_temperatures(
    snapshot: Snapshot, line: str, temperatures: Sequence[float], most: int = 4
) -> tuple[list[str], list[list[float]]]:
    """The likeliest tokens after a line, and their probabilities at each temperature, in rows."""
    tokens = snapshot.tokenizer.encode(snapshot.tokenizer.known(line))
    tokens = tokens[-snapshot.config.sequence_length :]
    if not len(tokens):
        return [], []
    logits = _logits(snapshot, tokens)[-1]
    likeliest = logits.topk(min(most, len(logits))).indices
    rows = [(logits / heat).softmax(-1)[likeliest].tolist() for heat in temperatures]
    return [_piece(snapshot, int(token)) for token in likeliest], rows


def round_trip(snapshot: Snapshot, line: str) -> tuple[str, str]:
    """A line without what the tokenizer does not know, and what comes back of its tokens."""
    known = snapshot.tokenizer.known(line)
    return known, snapshot.tokenizer.decode(snapshot.tokenizer.encode(known))


@torch.inference_mode()
def _logits(snapshot: Snapshot, tokens: Tokens) -> torch.Tensor:
    """(T,) -> (T, V)"""
    model = snapshot.shared
    device = next(model.parameters()).device
    given = torch.tensor([tokens.tolist()], device=device)
    return model(given)[0].float().cpu()


def _piece(snapshot: Snapshot, token: int) -> str:
    return snapshot.tokenizer.token_bytes(token).decode("utf-8", errors="replace")

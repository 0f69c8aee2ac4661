"""The logit lens: what the model would predict if it stopped after a layer.

Every layer only adds to the stream of vectors, so the stream after any layer can be read as if it
were the last one: through the final norm and the head.

Source: nostalgebraist 2020, "interpreting GPT: the logit lens" (LessWrong).
Shapes: L layers, T time, D width, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from transformer_lab.inspection.capture import Capture
from transformer_lab.model import GPT

PRE_NORM = (
    "Each row reads the stream after that layer through the final norm and the head. The top row "
    "is the model's own prediction; those below are a reading, which no layer ever sees."
)
POST_NORM = (
    "This is a post-norm model: each layer has already normalised the stream with a norm of its "
    "own, and the head reads it as it is. Layers may scale it differently, so only the top row is "
    "a prediction of the model; the bottom row was never normalised at all."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class LogitLens:
    """Predictions at every depth, (L + 1, T) on the CPU: row 0 before the first layer.

    `tokens` are the likeliest next tokens, `probabilities` theirs, and `divergences` KL(final ||
    row) in nats: what is lost by believing the row instead of the model. `note` says how to read
    the rows of this model.
    """

    tokens: Tensor
    probabilities: Tensor
    divergences: Tensor
    note: str


def logit_lens(model: GPT, captured: Capture) -> LogitLens:
    """Read the stream before the first layer and after each one as if it were the last."""
    final = captured["logits"].log_softmax(-1)  # (T, V)
    tokens, probabilities, divergences = [], [], []
    with torch.no_grad():
        for stream in streams(captured):
            logits = model.score(stream[None])[0]  # (T, V), one layer at a time: V can be large
            row = logits.float().log_softmax(-1)
            likeliest = row.max(-1)
            tokens.append(likeliest.indices)
            probabilities.append(likeliest.values.exp())
            divergences.append((final.exp() * (final - row)).sum(-1).clamp(min=0))
    return LogitLens(
        tokens=torch.stack(tokens).cpu(),
        probabilities=torch.stack(probabilities).cpu(),
        divergences=torch.stack(divergences).cpu(),
        note=PRE_NORM if model.config.norm_place == "pre" else POST_NORM,
    )


def streams(captured: Capture) -> list[Tensor]:
    """The stream before the first layer and after every one: L + 1 times (T, D)"""
    after = [captured[f"blocks.{layer}.stream_out"] for layer in range(captured.layers)]
    return [captured["blocks.0.stream_in"], *after]


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamNorms:
    """How long vectors are at every token, on the CPU.

    `stream` is (L + 1, T), row 0 before the first layer. `writes` has what each part adds, (T,) by
    the part's path; in a post-norm model what it hands to the norm, which scales it again.
    """

    stream: Tensor
    writes: dict[str, Tensor]


def stream_norms(captured: Capture) -> StreamNorms:
    """Euclidean lengths of the stream, and of what attentions and feed-forwards write into it."""
    return StreamNorms(
        stream=torch.stack([stream.norm(dim=-1) for stream in streams(captured)]).cpu(),
        writes={
            path: captured[f"{path}.write"].norm(dim=-1).cpu()
            for path in sorted([*captured.attentions, *captured.feedforwards])
        },
    )

"""Architecture: a model described part by part, by looking at the model itself.

Order and shapes come from a pass over a few tokens, parameters from the weights, and sources are
the very lines that run. So a new variant describes itself.

Shapes: B batch, T time, D width, V vocabulary.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transformer_lab.inspection.capture import Capture, capture, twin
from transformer_lab.inspection.taps import layer_of
from transformer_lab.model import GPT
from transformer_lab.model.norms import NORMS

TOKENS = 8  # every model can read so many

# Roles: what a part of this name is called, and what it does, whatever variant stands there.
ROLES = {
    "": ("The whole model", "Reads tokens and scores at every place which token comes next."),
    "embedding": ("Token embedding", "Looks up the vector that the model learned for each token."),
    "ngrams": ("N-grams", "Adds to each vector those of its token with the ones before it."),
    "smear": ("Smear", "Mixes into each vector a share of those just before it."),
    "positions": ("Positions", "Lets the model know where each token stands."),
    "blocks": ("Layer", "Adds to the stream what its parts found out."),
    "norm_1": ("First norm", "Brings each vector to a common size for what follows."),
    "norm_2": ("Second norm", "Brings each vector to a common size for what follows."),
    "norm": ("Norm", "Brings each vector to a common size for what follows."),
    "attention": ("Attention", "Lets each token gather what it needs from the tokens before it."),
    "feedforward": ("Feed-forward", "Works on each token alone, with what attention brought it."),
    "output": ("Output", "Writes into the stream what was found."),
    "head": ("Head", "Compares each vector with every token's own: the logits."),
}
SKIPPED = {"dropout"}  # does nothing while a model is read


@dataclass(frozen=True, kw_only=True)
class Source:
    """Lines that run: `text` begins at `line` of `file`; empty where Python has no source of it."""

    name: str
    file: str
    line: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a model.

    `purpose` says what any part in this place does, `detail` what this variant of it is. Axes are
    shape letters (a number where a size has none), shapes their sizes for one text of full length.
    `parameters` leaves out those of parts listed on their own; `taps` are the paths under which a
    capture has what happens in it; `depth` is how deep it lies in the model.
    """

    path: str
    name: str
    purpose: str
    detail: str
    layer: int | None
    depth: int
    input_axes: tuple[str, ...]
    input_shape: tuple[int, ...]
    output_axes: tuple[str, ...]
    output_shape: tuple[int, ...]
    parameters: int
    sources: tuple[Source, ...]
    taps: tuple[str, ...]


def describe(model: GPT) -> list[Part]:
    """The parts of a model in the order in which a token meets them."""
    tokens = torch.arange(TOKENS) % model.vocabulary_size
    passes = _passes(model, tokens)
    captured = capture(model, tokens)
    listed = [path for path in passes if _listed(model, path, captured)]
    modules: dict[str, nn.Module] = {path: model.get_submodule(path) for path in listed}
    if model.config.tied_head:
        listed.append("head")
        modules["head"] = model.embedding
        passes["head"] = (passes["norm"][1], passes[""][1])
    counts = _own_parameters(model, listed)
    taps = _taps_by_part(captured, listed)
    return [
        _part(model, path, modules[path], passes[path], counts[path], tuple(taps[path]))
        for path in listed
    ]


Pass = tuple[torch.Size, torch.Size]


def _passes(model: GPT, tokens: Tensor) -> dict[str, Pass]:
    """Every module that runs, in the order in which they begin: shapes of input and output."""
    observed = twin(model)
    begun: list[str] = []
    shapes: dict[str, Pass] = {}

    def listen(path: str, part: nn.Module) -> None:
        def end(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, Tensor):
                shapes[path] = (inputs[0].shape, output.shape)

        part.register_forward_pre_hook(lambda _, inputs: begun.append(path))
        part.register_forward_hook(end)

    for path, part in observed.named_modules():
        listen(path, part)
    with torch.no_grad():
        observed(tokens[None].to(model.embedding.weight.device))
    return {path: shapes[path] for path in dict.fromkeys(begun) if path in shapes}


def _listed(model: GPT, path: str, captured: Capture) -> bool:
    """Whether a module is shown by itself: the model, its parts, and what holds an attention."""
    if path.split(".")[-1] in SKIPPED:
        return False
    parts = (*captured.attentions, *captured.feedforwards)
    containers = {"", *(path for part in parts for path in _above(part))}
    containers |= {f"blocks.{layer}" for layer in range(len(model.blocks))}
    return path in containers or (_above(path)[0] if path else "") in containers


def _above(path: str) -> list[str]:
    """The paths of the modules a part lies in, nearest first; a list of layers is none of them."""
    steps = path.split(".")
    above = [".".join(steps[:end]) for end in range(len(steps) - 1, 0, -1)]
    return [*(path for path in above if path != "blocks"), ""]


def _own_parameters(model: GPT, listed: Iterable[str]) -> dict[str, int]:
    """Each parameter is counted once, for the deepest listed part it lies in."""
    counts = dict.fromkeys(listed, 0)
    for name, parameter in model.named_parameters():
        counts[_deepest(name, counts)] += parameter.numel()
    return counts


def _taps_by_part(captured: Capture, listed: Iterable[str]) -> dict[str, list[str]]:
    """Each captured path belongs to the deepest listed part it lies in."""
    taps: dict[str, list[str]] = {path: [] for path in listed}
    places = {"stream": "norm", "logits": "head"}
    for path in captured.activations:
        taps[_deepest(places.get(path, path), taps)].append(path)
    return taps


def _deepest(path: str, listed: Iterable[str]) -> str:
    return max((part for part in listed if f"{path}.".startswith(f"{part}.") or not part), key=len)


def _part(
    model: GPT, path: str, module: nn.Module, shapes: Pass, parameters: int, taps: tuple[str, ...]
) -> Part:
    name, purpose = _role(path, module)
    detail = _detail(model, path, module)
    input_axes, input_shape = _axes(model, shapes[0], "D")
    output_axes, output_shape = _axes(model, shapes[1], "V" if path in ("", "head") else "D")
    return Part(
        path=path,
        name=name,
        purpose=purpose,
        detail="" if detail == purpose else detail,
        layer=layer_of(path),
        depth=len(_above(path)) if path else 0,
        input_axes=input_axes,
        input_shape=input_shape,
        output_axes=output_axes,
        output_shape=output_shape,
        parameters=parameters,
        sources=tuple(_sources(model, path, module)),
        taps=taps,
    )


def _role(path: str, module: nn.Module) -> tuple[str, str]:
    *above, last = path.split(".")
    if above == ["blocks"]:
        return f"Layer {int(last) + 1}", ROLES["blocks"][1]
    if path == "norm":
        return "Final norm", ROLES["norm"][1]
    return ROLES.get(last, (last.replace("_", " ").capitalize(), _first_line(type(module))))


def _axes(model: GPT, shape: torch.Size, last: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Letters and sizes of a shape that was seen with few tokens; `last` names its third axis."""
    axes, sizes = ["B", "T"], [1, model.config.sequence_length]
    for size in shape[2:]:
        known = last == "V" or size == model.config.embedding_dim
        axes.append(last if known else str(size))
        sizes.append(size)
    return tuple(axes), tuple(sizes)


def _detail(model: GPT, path: str, module: nn.Module) -> str:
    """What this variant of a part is, in the words of its own source."""
    if path == "head":
        tied = model.config.tied_head
        return "The token embedding, used again." if tied else "A matrix of its own."
    if isinstance(module, nn.Identity):
        return "Nothing: the last layer has just normalized."
    if path.split(".")[-1].startswith("norm"):
        return _first_line(NORMS[model.config.norm])
    activation = getattr(module, "activation", None)
    words = _first_line(type(module)) if _ours(type(module)) else ""
    name = getattr(activation, "__name__", None)
    return f"{words} The non-linearity is {name}." if name else words


def _first_line(documented: object) -> str:
    return (inspect.getdoc(documented) or "").split("\n")[0]


def _ours(thing: Any) -> bool:
    return str(thing.__module__).startswith("transformer_lab.")


def _sources(model: GPT, path: str, module: nn.Module) -> list[Source]:
    """The class when it is ours, else the forward of it; for the whole model, how a pass goes."""
    kind: Any = type(module)
    if not path:
        return [_source(kind, kind.forward)]
    if path == "head":
        return [_source(type(model), type(model).score)]
    found = [_source(kind, kind if _ours(kind) else kind.forward)]
    activation = getattr(module, "activation", None)
    if inspect.isfunction(activation) and _ours(activation):
        found.append(_source(activation, activation))
    return found


def _source(owner: Any, lines_of: Callable[..., Any]) -> Source:
    name = owner.__qualname__ if owner is lines_of else f"{owner.__qualname__}.{lines_of.__name__}"
    file = f"{lines_of.__module__.replace('.', '/')}.py"
    try:
        lines, line = inspect.getsourcelines(lines_of)
    except (OSError, TypeError):  # installed without its source, or not written in Python
        return Source(name=name, file=file, line=0, text="")
    return Source(name=name, file=file, line=line, text="".join(lines))

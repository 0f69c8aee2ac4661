"""Overview: a drawing of this model, from the learner's tokens below to the predicted one on top.

The residual stream runs upwards on the left. Each sub-layer reads it, and adds to it what it found;
the numbers are the lengths of the real vectors at the chosen token. Buttons open a part: the script
in `assets/look.js` follows their `data-tab`, `data-layer` and `data-part`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dash import Dash, Input, Output, html, no_update
from dash.development.base_component import Component

from transformer_lab.inspection.architecture import Part
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.looking.looks import LensLook, NextLook
from transformer_lab.lab.looking.subjects import Open
from transformer_lab.model import ModelConfig
from transformer_lab.recipes import SETTINGS
from transformer_lab.ui.look import ids
from transformer_lab.ui.look.parts import (
    named,
    opened,
    pieces_of,
    place_in,
    quoted,
    tried,
    trouble,
)
from transformer_lab.ui.look.state import Opened, Place

NAME = "Overview"
BEFORE = 11  # tokens shown before the chosen one
OPENS = {"attention": "Attention", "embedding": "Embeddings", "head": "Predictions"}
WITHIN_ATTENTION = ("rotary", "alibi")  # positions that add nothing to the stream
ABOUT = (
    "The residual stream runs upwards: each sub-layer reads it and adds to it. Numbers are lengths "
    "(norms) of vectors at the chosen token. Press a block to open it."
)


@dataclass(frozen=True)
class Block:
    """A part as it is drawn; `place` is its place among the parts of the model."""

    part: Part
    place: int
    kind: str = ""

    @property
    def role(self) -> str:
        """Its name within the model: attention, norm_1, head."""
        return self.part.path.rpartition(".")[2]

    @property
    def is_norm(self) -> bool:
        """Whether it only scales what it reads."""
        return self.role.startswith("norm")


@dataclass
class Branch:
    """What leaves the stream and comes back: blocks in their order, and the length it adds.

    `after` are norms that stand on the stream behind the sum (post-norm).
    """

    blocks: list[Block] = field(default_factory=list)
    write: float | None = None
    after: list[Block] = field(default_factory=list)


def layout() -> html.Div:
    """Room for the drawing."""
    return html.Div(
        [
            trouble(ids.OVERVIEW_PROBLEM),
            html.Section(
                [html.Div(ABOUT, className="quiet"), html.Div(id=ids.OVERVIEW)],
                className="card",
                **named("This model"),
            ),
        ],
        className="look-part",
    )


def register(app: Dash, lab: Lab) -> None:
    """The callback of the drawing."""

    @app.callback(
        output={
            "drawing": Output(ids.OVERVIEW, "children"),
            "problem": Output(ids.OVERVIEW_PROBLEM, "children"),
        },
        inputs={
            "data": Input(ids.LOOK_OPEN, "data"),
            "place": Input(ids.LOOK_PLACE, "data"),
            "sub_tab": Input(ids.LOOK_TABS, "active_tab"),
        },
        prevent_initial_call=True,
    )
    def drawn(data: Opened | None, place: Place | None, sub_tab: str | None) -> dict[str, object]:
        """The model as it reads the text, at the chosen token."""
        what = opened(data, sub_tab, NAME)
        at = place_in(place, what.tokens)
        found, problem = tried(
            lambda: (
                lab.inspector.architecture(what),
                lab.inspector.lens(what),
                lab.inspector.likeliest(what, at),
            )
        )
        if found is None:
            return {"drawing": no_update, "problem": problem}
        parts, lens, likely = found
        config = lab.inspector.config(what)
        rows = [
            *_top(lab, what, parts, config, likely),
            *_layers(parts, config, lens, at),
            *_bottom(lab, what, parts, config, at, float(lens.stream[0, at])),
        ]
        return {"drawing": html.Div(rows, className="flow"), "problem": ""}


# --- what stands where ------------------------------------------------------------------------


def blocks_of(parts: Sequence[Part], config: ModelConfig, layer: int | None) -> list[Block]:
    """The innermost parts of a layer (None: outside of all layers), in the order they run."""
    holders = {part.path.rpartition(".")[0] for part in parts}
    return [
        Block(part, place, kinds(config).get(part.path.rpartition(".")[2].split("_")[0], ""))
        for place, part in enumerate(parts)
        if part.layer == layer and part.path and part.path not in holders
        if not (config.norm == "none" and part.path.rpartition(".")[2].startswith("norm"))
    ]


def kinds(config: ModelConfig) -> Mapping[str, str]:
    """Which variant of each part this model has, in the words of the settings."""
    heads = f"{config.heads} head{'s' * (config.heads != 1)}"
    positions = _choice("positions", config.positions)
    within = f" · {positions} positions" if config.positions in WITHIN_ATTENTION else ""
    return {
        "attention": f"{heads} · {_choice('attention', config.attention)}{within}",
        "feedforward": f"{_choice('feedforward', config.feedforward)}",
        "norm": _choice("norm", config.norm),
        "positions": positions,
        "ngrams": f"up to {config.ngrams} tokens, {config.ngram_rows:,} rows",
        "smear": f"{config.smear} token{'s' * (config.smear != 1)} back",
        "embedding": f"{config.embedding_dim:,} numbers a token",
        "head": "tied: the token embedding again" if config.tied_head else "a matrix of its own",
    }


def _choice(setting: str, value: str) -> str:
    words = (SETTINGS[f"model.{setting}"].choices or {}).get(value, value)
    return words.partition(":")[0]


def branches(blocks: Sequence[Block], lens: LensLook, at: int, *, post: bool) -> list[Branch]:
    """The blocks of a layer by what they add: a norm begins a branch, or ends one (post-norm)."""
    found: list[Branch] = []
    writes = dict(zip(lens.parts, lens.writes[:, at].tolist(), strict=True))
    for block in blocks:
        if block.is_norm and post and found:
            found[-1].after.append(block)
            continue
        full = not found or found[-1].write is not None or found[-1].after
        if full or (block.is_norm and not post):
            found.append(Branch())
        found[-1].blocks.append(block)
        found[-1].write = writes.get(block.part.path)
    return found


# --- how it is drawn, from the top ------------------------------------------------------------


def _top(
    lab: Lab, what: Open, parts: Sequence[Part], config: ModelConfig, likely: NextLook
) -> list[Component]:
    """The predicted token, the logits, and the last norm."""
    names = pieces_of(lab.inspector.pieces(what, likely.tokens[:3].tolist()))
    shares = [f"{share:.0%}" for share in likely.probabilities[:3].tolist()]
    others = ", ".join(f"{quoted(n)} {s}" for n, s in zip(names[1:], shares[1:], strict=True))
    outside = [block for block in blocks_of(parts, config, None) if block.role in ("norm", "head")]
    ends_in_norm = [block for block in outside if block.role == "head" or config.ends_in_norm]
    return [
        html.Div(
            [
                html.Span("Next token", className="flow-name"),
                html.Span(names[0], className="flow-token predicted"),
                html.Span(shares[0]),
                html.Span(f"then {others}" if others else "", className="quiet"),
            ],
            className="flow-ends",
        ),
        *[_on_stream(block) for block in ends_in_norm[::-1]],
    ]


def _layers(parts: Sequence[Part], config: ModelConfig, lens: LensLook, at: int) -> list[Component]:
    """Every layer, the last one first."""
    rows: list[Component] = []
    widest = float(lens.stream[:, at].max())
    for layer in range(config.layers):
        blocks = blocks_of(parts, config, layer)
        found = branches(blocks, lens, at, post=config.norm_place == "post")
        length = float(lens.stream[layer + 1, at])
        drawn = [
            _branch(one, length if one is found[-1] else None, sums=config.block != "no_residual")
            for one in found
        ]
        name = html.Div(f"Layer {layer + 1}", className="flow-layer-name")
        thick = {"--thick": f"{2 + 6 * float(lens.stream[layer, at]) / max(widest, 1e-9):.1f}px"}
        rows.append(html.Div([name, *drawn[::-1]], className="flow-layer", style=thick))
    return rows[::-1]


def _bottom(
    lab: Lab, what: Open, parts: Sequence[Part], config: ModelConfig, at: int, length: float
) -> list[Component]:
    """The embedding of the chosen token, and the tokens."""
    outside = blocks_of(parts, config, None)
    first = [block for block in outside if block.role not in ("norm", "head")]
    if config.positions in ("none", *WITHIN_ATTENTION):
        first = [block for block in first if block.role != "positions"]
    begin = max(0, at - BEFORE)
    pieces = pieces_of(lab.inspector.pieces(what, what.tokens[begin : at + 2]))
    tokens = [
        html.Span(piece, className="flow-token" + " at" * (begin + place == at))
        for place, piece in enumerate(pieces)
    ]
    return [
        html.Div([_stream(length), html.Div()], className="flow-row"),
        *[_on_stream(block) for block in first[::-1]],
        html.Div(
            [
                html.Span("Tokens", className="flow-name"),
                *(["…"] if begin else []),
                *tokens,
                *(["…"] if at + 2 < len(what.tokens) else []),
            ],
            className="flow-ends",
        ),
    ]


def _branch(branch: Branch, length: float | None, *, sums: bool) -> Component:
    """A loop: up from the stream through its blocks, and back to the sum."""
    *first, last = branch.blocks
    added = "" if branch.write is None else f"adds {branch.write:.2f}"
    back = [_button(last), html.Span(added, className="flow-write")]
    loop = html.Div(
        [
            html.Div(back, className="flow-back"),
            html.Div([_button(block) for block in first], className="flow-out"),
        ],
        className="flow-loop",
    )
    row = html.Div(
        [_stream(None if branch.after else length, sums=sums), loop],
        className="flow-row" + " replaced" * (not sums),
    )
    return html.Div([*[_on_stream(block, length) for block in branch.after[::-1]], row])


def _stream(length: float | None, *, sums: bool = False) -> Component:
    """A piece of the residual stream, with the length of the vector that it carries."""
    words = "" if length is None else f"{length:.1f}"
    mark = [html.Span("+", className="flow-sum", title="Added to the stream")] if sums else []
    label = html.Span(words, className="flow-length", title="Length of the residual stream here")
    return html.Div([label if words else html.Span(), *mark], className="flow-stream")


def _on_stream(block: Block, length: float | None = None) -> Component:
    """A block through which the stream itself goes, and the length of what comes out."""
    return html.Div(
        [_stream(length), html.Div(_button(block), className="flow-through")],
        className="flow-row",
    )


def _button(block: Block) -> html.Button:
    tab = OPENS.get(block.role, "Architecture")
    small = " small" * block.is_norm
    name = "Norm" if block.is_norm else "Output" if block.role == "head" else block.part.name
    return html.Button(
        [html.Span(name, className="flow-name"), html.Span(block.kind, className="flow-kind")],
        className=f"flow-block flow-{block.role.split('_')[0]}{small}",
        title=f"{block.part.purpose} Opens {tab}.",
        **{
            "data-tab": tab,
            "data-layer": "" if block.part.layer is None else str(block.part.layer),
            "data-part": str(block.place),
        },
    )

"""Names of the parts of the Generate tab that callbacks speak of."""

GENERATE = "generate"
GENERATE_STOP = "generate-stop"
GENERATE_TICK = "generate-tick"
WRITING = "writing"  # {"shown": [ids of one or two writings]}
WRITTEN = "written"  # how much of each is on the page
WRITINGS = "writings"  # the tree of all that this page has asked for
PICKED = "picked"  # {"writing", "place"}: the token that is looked at
PROMPT_GIVEN = "prompt-given"  # {"run", "prompt"}: what stands there for that model, not typed
PICKED_LOGITS = "picked-logits"  # what the token was drawn from, for the sliders
PICKED_CUT = "picked-cut"
PLAYED = "played"  # the moment whose text Play wants
PICKED_HEAD = "picked-head"
PICKED_BODY = "picked-body"
BRANCHES = "branches"
AGAINST = "against"
ADAPTERS = "adapters"
ADAPTERS_OF = "adapters-of"  # the model whose adapters are offered
AGAINST_STEP = "against-step"
OUTPUT_2 = "output-2"
CAPTION_2 = "caption-2"
OUTPUT_2_BOX = "output-2-box"
GENERATE_MESSAGE = "generate-message"
GENERATE_CAPTION = "generate-caption"
DROP_UNKNOWN = "drop-unknown"
OUTPUT = "output"


def alternative(token: int) -> dict[str, str]:
    """The button that branches with another token."""
    return {"type": "alternative", "token": str(token)}


def adapter(place: str) -> str:
    """The choice of an adapter in Generate."""
    return f"adapter-{place}"


def strength(place: str) -> str:
    """How much that adapter counts."""
    return f"strength-{place}"


def draw_slider(name: str) -> dict[str, str]:
    """The slider of temperature, top-k or top-p beside the probabilities of a token."""
    return {"type": "draw-slider", "name": name}


def token_chance(place: int) -> dict[str, str | int]:
    """Where the share that a token is drawn with stands."""
    return {"type": "token-chance", "place": place}


def writing_button(writing: str) -> dict[str, str]:
    """The button that shows a writing of the tree."""
    return {"type": "writing-button", "writing": writing}

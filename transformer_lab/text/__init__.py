"""Text and tokens: where a corpus comes from, and how it becomes numbers."""

from dataclasses import dataclass

from transformer_lab.settings import Config, choice, knob, text
from transformer_lab.text.tokenizers import TOKENIZERS


@dataclass(frozen=True, kw_only=True)
class DataConfig(Config):
    """What a model is trained on."""

    GROUP = "data"

    corpus: str = text(
        "tiny_shakespeare",
        "Corpus",
        "The text the model learns from: a name from the list, or the path of a .txt file.",
    )
    tokenizer: str = choice(
        "characters",
        TOKENIZERS,
        "Tokenizer",
        "How text is cut into the units the model reads.",
        words={
            "characters": "Character-level",
            "bpe": "BPE (this text)",
            "gpt2": "BPE (GPT-2)",
        },
    )
    vocabulary_size: int = knob(
        2048,
        300,
        16_384,
        "Vocabulary",
        "How many tokens byte pairs or words may have; other tokenizers have their own number.",
        advanced=True,
    )
    validation_share: float = knob(
        0.1,
        0.01,
        0.5,
        "Validation Share",
        "Part of the text, from its end, that is never trained on and only used to judge.",
        advanced=True,
    )

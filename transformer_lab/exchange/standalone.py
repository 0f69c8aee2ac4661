"""What a script needs besides the model to write text with no lab around it.

`script.py` copies these functions and classes, together with the model they use, into the scripts
it makes. There `ModelConfig()` and `SampleConfig()` have the values of the exported run. Nothing
here needs more than PyTorch.

Shapes: V vocabulary.
"""

import argparse
import codecs
import io
import json
import math
import os
import re
import struct
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from transformer_lab.generation import LEAST_TEMPERATURE, Reader, SampleConfig
from transformer_lab.model import GPT, ModelConfig, model_from_weights


class Characters:
    """Every character is a token. `pieces[i]` are the UTF-8 bytes of token i."""

    def __init__(self, characters: str) -> None:
        self.pieces = [character.encode("utf-8", "replace") for character in characters]
        self._ids = {character: token for token, character in enumerate(characters)}

    def encode(self, text: str) -> list[int]:
        """Text -> token ids. Raises ValueError for a character that the training text never had."""
        for character in text:
            if character not in self._ids:
                raise ValueError(f"The training text never contained {character!r}.")
        return [self._ids[character] for character in text]


class Bytes:
    """Every byte of the UTF-8 text is a token. `pieces[i]` is the byte i."""

    def __init__(self) -> None:
        self.pieces = [bytes([value]) for value in range(256)]

    def encode(self, text: str) -> list[int]:
        """Text -> token ids."""
        return list(text.encode("utf-8", "replace"))


class Words:
    """Every word, space and sign is a token; token 0 stands for all those it does not know."""

    def __init__(self, words: Sequence[str]) -> None:
        self.pieces = [word.encode("utf-8", "replace") for word in words]
        self._ids = {word: token for token, word in enumerate(words)}

    def encode(self, text: str) -> list[int]:
        """Text -> token ids. Raises ValueError for a word that is not in the vocabulary."""
        words = re.findall(r"\w+|[^\w]", text)
        for word in words:
            if word not in self._ids:
                raise ValueError(f"The training text never contained {word!r}, or too seldom.")
        return [self._ids[word] for word in words]


# GPT-2's way of cutting text into words before pairs are joined, on the kinds of the characters:
# L a letter, N a number, O another sign, a space, s another white space.
CUT = re.compile(r" ?L+| ?N+| ?O+|[ s]+(?![LNO])|[ s]")
CONTRACTION = re.compile(r"'(?:[sdmt]|ll|ve|re)")
WHITE_SPACE = re.compile(r"[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")


class BytePairs:
    """Bytes, joined pair by pair: of all neighbours, those that make the lowest token come first.

    `pieces[i]` are the bytes of token i. Source: arXiv:1508.07909, algorithm 1; on bytes as in
    GPT-2.
    """

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = list(pieces)
        self._ids = {piece: token for token, piece in enumerate(pieces)}

    def encode(self, text: str) -> list[int]:
        """Text -> token ids."""
        clean = text.encode("utf-8", "replace").decode()  # no half of a surrogate pair
        return [token for word in cut(clean) for token in self._tokens(word.encode())]

    def _tokens(self, word: bytes) -> list[int]:
        parts = [word] if word in self._ids else [bytes([value]) for value in word]
        while True:
            joined = [
                (self._ids[left + right], place)
                for place, (left, right) in enumerate(pairwise(parts))
                if left + right in self._ids
            ]
            if not joined:
                return [self._ids[part] for part in parts]
            _, place = min(joined)
            parts[place : place + 2] = [parts[place] + parts[place + 1]]


def cut(text: str) -> Iterator[str]:
    """The words of a text: with the space before them, runs of numbers, signs or white space."""
    kinds = "".join(map(kind_of, text))
    begin = 0
    while begin < len(text):
        found = CONTRACTION.match(text, begin) or CUT.match(kinds, begin)
        assert found is not None
        yield text[begin : found.end()]
        begin = found.end()


def kind_of(character: str) -> str:
    """What a character counts as: L, N, O, s or a space."""
    if WHITE_SPACE.match(character):
        return " " if character == " " else "s"
    kind = unicodedata.category(character)[0]
    return kind if kind in "LN" else "O"


Tokenizer = Characters | Bytes | Words | BytePairs

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a safetensors file.

    It holds 8 bytes, the length n of the header; n bytes of JSON, which say for each tensor its
    dtype, its shape and where its bytes begin and end; and all those bytes.
    """
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    header.pop("__metadata__", None)
    return {
        name: torch.frombuffer(
            data,
            dtype=DTYPES[about["dtype"]],
            count=math.prod(about["shape"]),
            offset=about["data_offsets"][0],
        ).view(about["shape"])
        for name, about in header.items()
    }


def load(path: Path, tokenizer: Tokenizer) -> GPT:
    """The model with its trained weights."""
    return model_from_weights(ModelConfig(), len(tokenizer.pieces), read_weights(path))


def draw(logits: Tensor, sample: SampleConfig, generator: torch.Generator) -> int:
    """Draw one token id from (V,) logits, as temperature, top-k and top-p say."""
    if sample.temperature == 0:
        return int(logits.argmax())
    logits = logits / sample.temperature
    if 0 < sample.top_k < len(logits):
        least = logits.topk(sample.top_k).values[-1]
        logits = logits.masked_fill(logits < least, -math.inf)
    shares = logits.softmax(0)
    if sample.top_p < 1:
        likely = shares.sort(descending=True).values
        enough = int(torch.searchsorted(likely.double().cumsum(0), sample.top_p))
        shares = shares.masked_fill(shares < likely[min(enough, len(likely) - 1)], 0.0)
        shares = shares / shares.sum()
    return int(torch.multinomial(shares, 1, generator=generator))


def write(model: GPT, tokenizer: Tokenizer, sample: SampleConfig) -> Iterator[str]:
    """Yield the text that follows `sample.prompt`, piece by piece.

    Raises ValueError for a prompt that the model cannot read, and for too low a temperature.
    """
    if 0 < sample.temperature < LEAST_TEMPERATURE:
        raise ValueError(f"The temperature must be 0 or at least {LEAST_TEMPERATURE:g}.")
    fresh = tokenizer.encode(sample.prompt)
    if not fresh:
        raise ValueError("The prompt is empty: give at least one character to continue.")
    generator = torch.Generator().manual_seed(sample.seed)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    reader = Reader(model)
    for _ in range(sample.length):
        token = draw(reader.read(fresh), sample, generator)
        yield decoder.decode(tokenizer.pieces[token])
        fresh = [token]
    yield decoder.decode(b"", final=True)


def main(tokenizer: Tokenizer, weights: Path) -> None:
    """Write text to the terminal, as the command line asks."""
    parser = argparse.ArgumentParser(description="Write text with a model made in Transformer Lab.")
    for item in fields(SampleConfig):
        default = str(item.default).replace("%", "%%")
        parser.add_argument(
            f"--{item.name.replace('_', '-')}",
            type=type(item.default),
            default=item.default,
            help=f"without it: {default}",
        )
    parser.add_argument("--weights", type=Path, default=weights, help="another safetensors file")
    options = vars(parser.parse_args())
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # where a terminal lacks letters
    try:
        model = load(options.pop("weights"), tokenizer)
        sample = SampleConfig(**options)
        sys.stdout.write(sample.prompt)
        for piece in write(model, tokenizer, sample):
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
        sys.stdout.flush()
    except BrokenPipeError:  # who read it has gone, which is no fault
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError) as error:
        sys.exit(f"It cannot write: {error}")

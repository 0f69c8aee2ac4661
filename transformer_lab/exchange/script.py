"""A run as one Python file that needs no lab: its model, its tokenizer, and how to write with them.

The code in it is the very code that ran here, taken from the modules of this package.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from transformer_lab.exchange import standalone
from transformer_lab.exchange.errors import ExportRefusedError
from transformer_lab.exchange.source import Gathered, gather
from transformer_lab.recipes import Setup, setup_from
from transformer_lab.settings import shown
from transformer_lab.text.tokenizers import tokenizer_from_json

WEIGHTS = "weights.safetensors"
SCRIPT = "generate.py"
WIDTH = 90  # columns of a line of vocabulary


@dataclass(frozen=True)
class StandaloneTokenizer:
    """The class a script uses for a tokenizer, and as Python source what it is made from."""

    kind: Callable[..., standalone.Tokenizer]
    vocabulary: str = ""

    def assignment(self) -> str:
        """The lines that make it, under the name `tokenizer`."""
        name = self.kind.__name__
        if not self.vocabulary:
            return f"tokenizer = {name}()"
        return f"VOCABULARY = {self.vocabulary}\ntokenizer = {name}(VOCABULARY)"


def standalone_tokenizer(stored: Mapping[str, Any]) -> StandaloneTokenizer:
    """How the tokenizer that `to_json` described is written in a script.

    Raises ExportRefusedError for a kind that scripts do not know.
    """
    kind, tokenizer = stored["kind"], tokenizer_from_json(stored)
    if kind == "bytes":
        return StandaloneTokenizer(standalone.Bytes)
    if kind == "characters":
        return StandaloneTokenizer(standalone.Characters, text_literal(stored["characters"]))
    if kind == "words":
        words = [tokenizer.decode([0]), *stored["words"]]
        return StandaloneTokenizer(standalone.Words, list_literal(words))
    if kind in ("bpe", "gpt2"):
        pieces = [tokenizer.token_bytes(token) for token in range(tokenizer.vocabulary_size)]
        return StandaloneTokenizer(standalone.BytePairs, list_literal(pieces))
    raise ExportRefusedError(f"A script cannot hold the tokenizer {shown(kind)} yet.")


def list_literal(items: list[Any]) -> str:
    """A list as Python source, many items to a line."""
    lines, line = [], ""
    for item in items:
        word = f"{item!r}, "
        if line and len(line) + len(word) > WIDTH:
            lines.append(line.rstrip())
            line = ""
        line += word
    return "[\n" + "".join(f"    {line}\n" for line in [*lines, line.rstrip()]) + "]"


def text_literal(characters: list[str]) -> str:
    """A long string as Python source, cut into lines."""
    parts = ["".join(characters[i : i + 60]) for i in range(0, len(characters), 60)]
    return "(\n" + "".join(f"    {part!r}\n" for part in parts) + ")"


def gather_program(
    setup: Setup, tokenizer: StandaloneTokenizer, *roots: Callable[..., object]
) -> Gathered:
    """The source of a model, its tokenizer and `roots`, with the settings of a run."""
    return gather([tokenizer.kind, *roots], [setup.model, setup.sample])


def script_text(manifest: Mapping[str, Any]) -> str:
    """The script of a run, from what is in its run.json.

    Beside it belongs a checkpoint's weights.safetensors. Raises ConfigError for settings that are
    not ours, and ExportRefusedError for what no script can hold.
    """
    tokenizer = standalone_tokenizer(manifest["tokenizer"])
    program = gather_program(setup_from(manifest["setup"]), tokenizer, standalone.main)
    sections = [
        f"# From {section.module.replace('.', '/')}.py\n\n\n{section.source}"
        for section in program.sections
    ]
    ending = (
        f"{tokenizer.assignment()}\n\n"
        'if __name__ == "__main__":\n'
        f'    main(tokenizer, Path(__file__).with_name("{WEIGHTS}"))\n'
    )
    heading = _heading(str(manifest["id"]), needed_packages(program.imports))
    return "\n\n\n".join([f"{heading}\n\n{program.imports}", *sections, ending])


def needed_packages(imports: str) -> list[str]:
    """Which packages besides Python itself the import lines ask for."""
    outside = imports.partition("\n\n")[2]
    return sorted({line.split()[1].split(".")[0] for line in outside.splitlines()})


def _heading(run: str, packages: list[str]) -> str:
    name = "".join(sign for sign in run if sign.isalnum() or sign == "-")
    return f'''"""{name}: a GPT trained in Transformer Lab, complete in this file and its weights.

    python {SCRIPT} --prompt "Once" --length 300

It needs Python 3.11 or newer, {" and ".join(packages)}, and {WEIGHTS} in the same folder.
The code is the lab's own, as it was when the run left it. The settings of the model are in
ModelConfig; those of the text it writes are in SampleConfig and on the command line (--help).
"""'''

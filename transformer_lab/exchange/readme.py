"""The README of an archive: what everything in it is, for someone who has nothing but the file."""

from collections.abc import Mapping, Sequence
from typing import Any

EXAMPLE = "step-00000800"  # in the examples, where a run has no weights yet


def archive_readme(
    manifest: Mapping[str, Any], checkpoints: Sequence[str], lost: Sequence[str] = ()
) -> str:
    """The text for one run, the checkpoints that go along, and what was lost of it."""
    model, corpus = manifest["setup"].get("model", {}), manifest.get("corpus", {})
    shape = ", ".join(str(model.get(key, "?")) for key in ("layers", "heads", "embedding_dim"))
    facts = {
        "Text": corpus.get("title", "unknown"),
        "Parameters": f"{manifest.get('parameters', 0):,}",
        "Layers, heads, width": shape,
        "Weights in this archive": ", ".join(checkpoints) or "none",
    }
    return TEMPLATE.format(
        id=manifest.get("id", "A run"),
        facts="\n".join(f"- {name}: {value}" for name, value in facts.items()),
        checkpoint=checkpoints[0] if checkpoints else EXAMPLE,
        lost=LOST.format("\n".join(f"- {one}" for one in lost)) if lost else "",
    )


LOST = """
The run was damaged. What is not in here:

{}
"""
TEMPLATE = """# {id}

A language model made in Transformer Lab, with everything that was recorded while it learned.

{facts}
{lost}
To use it in a lab of your own, bring the .zip in as it is. Everything can also be read without us:

| file | what it is |
|---|---|
| run.json | every setting, the text's name and sha256, the tokenizer, the environment |
| metrics.csv | one line for each step; the columns are below |
| metrics.sqlite | the same in table steps; what it wrote in samples; what happened in events |
| samples.txt | what the model wrote while it learned |
| checkpoints/step-N/ | the weights after N steps |
| checkpoints/best-N/ | the weights where the loss on held-back text was lowest |
| checkpoints/kept-N/ | a moment that its owner chose to keep |
| .../weights.safetensors | every tensor by name, float32 |
| moments/N-... | the weights after N steps in 16 bits; a sum of the file is in its name |
| .../tokenizer.json | how text becomes token ids (the same as in run.json) |
| .../meta.json | the step, and the sha256 of the files beside it |
| archive.json | the format of this archive, and size and sha256 of every file |

Other .json files hold notes, and other files in a checkpoint serve to train on from there. The text
the model learned from is not in here.

Columns of metrics.csv: `step`; `train_loss` of the step's batch, in nats per token;
`learning_rate`; `gradient_norm` before it was clipped; `tokens_per_second`; `seconds` since
training began; `validation_loss` of held-back text, in nats per token, empty where it was not
measured.

## The loss

    sqlite3 metrics.sqlite "SELECT step, train_loss, validation_loss FROM steps"

    import csv
    steps = list(csv.DictReader(open("metrics.csv", encoding="utf-8")))

## The weights

    pip install safetensors torch

    from safetensors.torch import load_file
    weights = load_file("checkpoints/{checkpoint}/weights.safetensors")
    for name, tensor in weights.items():
        print(name, tuple(tensor.shape))

The layout of such a file is described at https://github.com/huggingface/safetensors

## Is it whole?

    import hashlib, json, pathlib
    for name, about in json.load(open("archive.json", encoding="utf-8"))["files"].items():
        assert hashlib.sha256(pathlib.Path(name).read_bytes()).hexdigest() == about["sha256"], name
"""

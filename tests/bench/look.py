"""How long the page waits when something inside a model is asked for; judges nothing.

    python tests/bench/look.py

An untrained model of 4 layers that reads 256 tokens, asked through the server as a browser does.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "callbacks"))
from conftest import Page
from transformer_lab.lab.lab import Lab
from transformer_lab.ui.server import create_app

SHAPE = {
    "data.corpus": "python_docs",
    "model.layers": "4",
    "model.heads": "4",
    "model.embedding_dim": "128",
    "model.sequence_length": "256",
    "train.threads": "1",
}
PARTS = {  # what is asked for, and what its tab is called
    "tiles-chart.figure": ("all heads and their measures", "Attention"),
    "head-chart.figure": ("one head, enlarged", "Attention"),
    "stage-chart.figure": ("a step of one query", "Attention"),
    "lens-chart.figure": ("logit lens", "Predictions"),
    "attribution-chart.figure": ("parts of a logit", "Predictions"),
    "cause-effect.children": ("before and after", "Cause"),
    "embedding-chart.figure": ("token embeddings", "Embeddings"),
    "positions-chart.figure": ("positions", "Embeddings"),
    "health-signs.children": ("health", "Health"),
    "block-head.children": ("a part, its code and tensors", "Architecture"),
}


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        lab = Lab(Path(home))
        page = Page(create_app(lab))
        page.set(SHAPE)
        page.click("initialize")
        lab.trainings.wait(60)
        page.values["tabs", "active_tab"] = "Look inside"
        text = lab.texts.corpus("python_docs").text
        read(page, text[:2000])  # once, to begin with
        print("4 layers, 4 heads, 128 wide, 256 tokens; a new text each time, median of 7\n")
        print(f"{'':32}{'first':>8}{'again':>8}{'kB':>8}")
        show("the text itself", [read(page, text[n * 3000 :][:2000]) for n in range(7)], [], 0)
        for output, (words, tab) in PARTS.items():
            page.values["look-tabs", "active_tab"] = tab
            first, again = [], []
            for n in range(7):
                read(page, text[n * 2500 + 100 :][:2000])
                first.append(asked(page, output))
                again.append(asked(page, output))
            size = len(page.last.get_data()) if page.last else 0
            show(words, first, again, size)
        lab.close()


def read(page: Page, text: str) -> float:
    page.values["look-text", "value"] = text
    return asked(page, "look-open.data", "look-text.value")


def asked(page: Page, output: str, changed: str = "look-open.data") -> float:
    begun = time.perf_counter()
    page.fire(output, changed)
    return 1000 * (time.perf_counter() - begun)


def show(words: str, first: list[float], again: list[float], size: int) -> None:
    cells = [f"{statistics.median(times):.0f} ms" if times else "" for times in (first, again)]
    print(f"{words:32}{cells[0]:>8}{cells[1]:>8}{size / 1000 if size else 0:>8.0f}")


if __name__ == "__main__":
    main()

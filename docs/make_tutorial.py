"""Write docs/tutorial.md from the lessons in docs/lessons/.

    python docs/make_tutorial.py

A test fails when the two differ.
"""

from pathlib import Path

from transformer_lab.ui.learn.lessons import load_lessons
from transformer_lab.ui.learn.tutorial import tutorial

if __name__ == "__main__":
    text = tutorial(load_lessons().values())
    (Path(__file__).parent / "tutorial.md").write_text(text, encoding="utf-8")

"""What the guide tells people to type works."""

import re
from pathlib import Path

import pytest

from transformer_lab.inspection.attention import HEAD_MEASURES

GUIDE = (Path(__file__).parents[3] / "docs" / "attention_visualization.md").read_text("utf-8")
EXAMPLE = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLE)
def test_the_example_runs(example, capsys):
    exec(compile(example, "the guide", "exec"), {})
    written = capsys.readouterr().out
    assert "blocks.1.attention.pattern" in written
    assert "torch.Size([2, 2, 5, 5])" in written
    assert "Layer 2, head 1" in written


def test_every_measure_is_defined_in_the_guide():
    table = GUIDE.split("| measure | definition |")[1].split("\n\n")[0]
    named = [row.split("|")[1].strip().replace(" ", "_") for row in table.splitlines()[2:]]
    assert named == list(HEAD_MEASURES)


def test_every_function_the_guide_names_is_there():
    room = Path(__file__).parents[3] / "transformer_lab" / "inspection"
    source = "".join(path.read_text("utf-8") for path in room.glob("*.py"))
    names = re.findall(r"`([a-z_]+)`", GUIDE)
    assert len(names) > 8
    for name in names:
        assert f"def {name}(" in source, name

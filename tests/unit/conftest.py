"""What unit tests share."""

import pytest

from nodes import computers, quick_nodes, scratch  # noqa: F401 - fixtures
from transformer_lab.lab.lab import Lab


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    lab.close()

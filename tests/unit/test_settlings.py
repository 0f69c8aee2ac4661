"""How the latents of a live model settle, looked at from outside."""

import pytest

from transformer_lab.lab.lab import LabError
from transformer_lab.recipes import Setup
from waiting import until

PC_SETUP = {
    "data.corpus": "python_docs",
    "model.layers": 2,
    "model.heads": 2,
    "model.embedding_dim": 16,
    "model.sequence_length": 16,
    "train.batch_size": 4,
    "train.steps": 3,
    "train.threads": 1,
}


@pytest.mark.parametrize(("feedforward", "parts"), [("pc", 2), ("relu_squared", 0)])
def test_settling_is_looked_at_where_there_is_any(lab, feedforward, parts):
    setup = Setup().with_values(PC_SETUP | {"model.feedforward": feedforward})
    lab.trainings.start(setup)
    until(lambda: lab.trainings.current is not None and lab.trainings.current.ended)
    name = lab.trainings.current.status.run_id
    if not parts:
        assert lab.settlings.look(name) is None
        return
    until(lambda: lab.settlings.look(name) is not None)
    found = lab.settlings.look(name)
    assert len(found.traces) == parts
    for _, energies in found.traces:
        assert len(energies) == setup.model.settling.steps + 1
        assert energies == sorted(energies, reverse=True)
        assert energies[-1] < energies[0]


def test_without_a_model_there_is_nothing_to_settle(lab):
    with pytest.raises(LabError):
        lab.settlings.look("nobody")

"""The schedule of the next training, drawn in the chart of the learning rate before it starts."""

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.states import ENDED
from transformer_lab.lab.training.views import View
from transformer_lab.training import TrainConfig
from transformer_lab.ui.train.plan import FormPlan, planned


def schedule(lab: Lab, view: View, plan: FormPlan | None) -> TrainConfig | None:
    """The form's training, where the newest run is shown and has ended with another schedule."""
    if view.setup is None or view.state not in ENDED or view.run_id != lab.runs.view().run_id:
        return None
    setup = planned(plan)
    return setup.train if setup and course(setup.train) != course(view.setup.train) else None


def course(train: TrainConfig) -> list[tuple[str, int, int, float, float]]:
    """What is drawn of a schedule: its phases, and the rates at which each begins and ends."""
    rate = train.learning_rate
    return [
        (one.name, one.first, one.last, rate * one.factor(one.first), rate * one.factor(one.last))
        for one in train.phases()
    ]

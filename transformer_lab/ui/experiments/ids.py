"""Names of the parts of the PCN Experiments tab that callbacks speak of."""

from transformer_lab.ui.results.ids import result_ids

AUDIT_MODEL = "audit-model"
AUDIT_START = "audit-start"
AUDIT_JOB = "audit-job"
AUDIT_TICK = "audit-tick"
AUDIT_CAPTION = "audit-caption"
AUDIT_PROOFS = "audit-proofs"
SUMMARY = "summary"
SUMMARY_OPEN = "summary-open"
SUMMARY_BODY = "summary-body"
PLANT_KIND = "plant-kind"
PLANT_HELP = "plant-help"
PLANT_START = "plant-start"
PLANT_STOP = "plant-stop"
PLANT_JOB = "plant-job"
PLANT_TICK = "plant-tick"
PLANT_CAPTION = "plant-caption"
PLANT_FOUND = "plant-found"

EXPERIMENT_PARTS = result_ids("experiment")

EXPERIMENT = "experiment"  # the key of the one that is shown
EXPERIMENT_QUESTION = "experiment-question"
EXPERIMENT_TITLE = "experiment-title"
GUESSES = "guesses"  # by experiment: the option that was guessed, -1 for shown without guessing
EXPERIMENT_PAUSE = "experiment-pause"
EXPERIMENT_DEFAULTS = "experiment-defaults"
EXPERIMENT_EQUATIONS = "experiment-equations"
EXPERIMENT_LEAK = "experiment-leak"
EXPERIMENT_LEAK_BOX = "experiment-leak-box"


def experiment_button(experiment: str) -> dict[str, str]:
    """The entry of one experiment in the list."""
    return {"type": "experiment-button", "experiment": experiment}


def experiment_badge(experiment: str) -> dict[str, str]:
    """How an experiment stands, in the list."""
    return {"type": "experiment-badge", "experiment": experiment}


def experiment_fields(experiment: str) -> dict[str, str]:
    """The controls of one experiment."""
    return {"type": "experiment-fields", "experiment": experiment}


def experiment_setting(experiment: str, name: str) -> dict[str, str]:
    """The control of one setting of an experiment."""
    return {"type": "experiment-setting", "experiment": experiment, "name": name}


def experiment_problem(experiment: str, name: str) -> dict[str, str]:
    """Where the error of one setting of an experiment is shown."""
    return {"type": "experiment-problem", "experiment": experiment, "name": name}

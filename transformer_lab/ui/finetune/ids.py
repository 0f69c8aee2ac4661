"""Names of the parts of the Fine-tune tab that callbacks speak of."""

FINETUNE_SEEN = "finetune-seen"  # digests of what is on the page
FINETUNE_REFRESH = "finetune-refresh"
FINETUNE_WRITING = "finetune-writing"  # {"shown": [ids of the base's and the tuned writing]}
FINETUNE_TICK = "finetune-tick"
FINETUNE_BASE = "finetune-base"
FINETUNE_STEP = "finetune-step"
BASE_IMPORT = "base-import"  # the file of a base from elsewhere
BASE_IMPORTED = "base-imported"  # what became of it
BASE_PATH = "base-path"
BASE_ADD = "base-add"
BASE_MESSAGE = "base-message"
FINETUNE_TEXT = "finetune-text"
FINETUNE_UNKNOWN = "finetune-unknown"
FINETUNE_COST = "finetune-cost"
FINETUNE_MESSAGE = "finetune-message"
FINETUNE_START = "finetune-start"
FINETUNE_LATER = "finetune-later"
FINETUNE_STOP = "finetune-stop"
FINETUNE_SHOWN = "finetune-shown"
FINETUNE_STATE = "finetune-state"
FINETUNE_LOSSES = "finetune-losses"
FINETUNE_SUM = "finetune-sum"
FINETUNE_PROMPT = "finetune-prompt"
FINETUNE_SEED = "finetune-seed"
FINETUNE_WRITE = "finetune-write"
FINETUNE_WRITE_MESSAGE = "finetune-write-message"
FINETUNE_TEXT_1 = "finetune-text-1"
FINETUNE_TEXT_2 = "finetune-text-2"
FINETUNE_CHANGED = "finetune-changed"
FINETUNE_NORMS = "finetune-norms"
FINETUNE_CHARTS = "finetune-charts"
FINETUNE_SINGULAR = "finetune-singular"


def finetune_setting(group: str, name: str) -> dict[str, str]:
    """The control of one setting of a fine-tuning."""
    return {"type": "finetune-setting", "group": group, "name": name}


def finetune_problem(group: str, name: str) -> dict[str, str]:
    """Where the error of one setting of a fine-tuning is shown."""
    return {"type": "finetune-problem", "group": group, "name": name}

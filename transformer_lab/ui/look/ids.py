"""Names of the parts of the Look inside tab that callbacks speak of."""

LOOK_TABS = "look-tabs"
LOOK_BODY = "look-body"
LOOK_THEME = "look-theme"  # "dark" or "light", for charts whose colours are numbers
LOOK_OPEN = "look-open"  # which weights and tokens are looked at: run, step, weights, tokens, after
LOOK_GIVEN = "look-given"  # the text that was put there for the learner
LOOK_TEXT = "look-text"
LOOK_AGAIN = "look-again"
LOOK_DROP = "look-drop"
LOOK_NOTE = "look-note"
LOOK_PROBLEM = "look-problem"
LOOK_TOKENS = "look-tokens"
LOOK_CAPTION = "look-caption"
LOOK_PLACE = "look-place"  # {"place"}: the token that is chosen, from 0
LOOK_LINKS = "look-links"  # who looks at whom in the head that is enlarged
LOOK_ECHO = "look-echo"

OVERVIEW = "overview"
OVERVIEW_PROBLEM = "overview-problem"
ATTENTION_PROBLEM = "attention-problem"
ATTENTION_NOTE = "attention-note"
LAYER = "look-layer"
HEAD = "look-head"
HEAD_CHART = "head-chart"
TILES = "tiles-chart"
MEASURES = "measures"
MEASURES_NOTE = "measures-note"
STAGE = "stage"
STAGE_BACK = "stage-back"
STAGE_NEXT = "stage-next"
STAGE_TITLE = "stage-title"
STAGE_FORMULA = "stage-formula"
STAGE_WORDS = "stage-words"
STAGE_CHART = "stage-chart"

PREDICTIONS_PROBLEM = "predictions-problem"
LENS = "lens-chart"
LENS_NOTE = "lens-note"
NORMS = "norms-chart"
EXPLAINED = "explained"  # the token whose logit is split
ATTRIBUTION = "attribution-chart"
ATTRIBUTION_SUM = "attribution-sum"
ATTRIBUTION_PROBLEM = "attribution-problem"

CAUSE_PROBLEM = "cause-problem"
CAUSE_GRID = "cause-grid"
CAUSE_KIND = "cause-kind"
CAUSE_PARTS = "cause-parts"  # labels of all parts, in order
CAUSE_OFF = "cause-off"  # places of those that are chosen
CAUSE_CLEAR = "cause-clear"
CAUSE_SOURCE = "cause-source"
CAUSE_SOURCE_BOX = "cause-source-box"
CAUSE_WHERE = "cause-where"
CAUSE_EFFECT = "cause-effect"
CAUSE_CHART = "cause-chart"
CAUSE_WRITING = "cause-writing"
IMPORTANCE = "importance-chart"
IMPORTANCE_START = "importance-start"
IMPORTANCE_STOP = "importance-stop"
IMPORTANCE_MEAN = "importance-mean"
IMPORTANCE_STATE = "importance-state"
IMPORTANCE_JOB = "importance-job"
IMPORTANCE_TICK = "importance-tick"
INDUCTION_START = "induction-start"
INDUCTION_STOP = "induction-stop"
INDUCTION_STATE = "induction-state"
INDUCTION_TABLE = "induction-table"
INDUCTION_JOB = "induction-job"
INDUCTION_TICK = "induction-tick"

EMBEDDING = "embedding-chart"
EMBEDDING_NOTE = "embedding-note"
EMBEDDING_PROBLEM = "embedding-problem"
EMBEDDING_VIEW = "embedding-view"
EMBEDDING_TOKEN = "embedding-token"
NEIGHBOURS = "neighbours"
POSITIONS = "positions-chart"
POSITIONS_NOTE = "positions-note"

HEALTH_PROBLEM = "health-problem"
HEALTH_SEEN = "health-seen"
HEALTH_SIGNS = "health-signs"
DEVIATIONS = "deviations-chart"
ENTROPIES = "entropies-chart"
UPDATES = "updates-chart"
UPDATES_NOTE = "updates-note"
GRADIENTS = "gradients-chart"
GRADIENTS_NOTE = "gradients-note"

ARCHITECTURE_PROBLEM = "architecture-problem"
BLOCKS = "blocks"
BLOCKS_KNOWN = "blocks-known"
BLOCK = "block"  # {"index"}: the part that is open
BLOCK_HEAD = "block-head"
BLOCK_TENSOR = "block-tensor"
BLOCK_TENSORS = "block-tensors"
BLOCK_CHART = "block-chart"
BLOCK_CODE = "block-code"
SLOW = "slow-motion"
SLOW_TICK = "slow-tick"
SLOW_WORDS = "slow-words"


def site_button(index: str) -> dict[str, str]:
    """The button that switches a part of the model off."""
    return {"type": "site-button", "index": index}


def block_button(index: str) -> dict[str, str]:
    """The button that opens a part of the drawing of the model."""
    return {"type": "block-button", "index": index}

"""Names of the parts of the page that callbacks speak of."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

ComponentId = Mapping[str, str]  # the id of one of many components, such as a setting's control

TABS = "tabs"


def late(title: str) -> str:
    """Where a tab is put that is made when it is first opened."""
    return f"late-{title.lower().replace(' ', '-')}"


TICK = "tick"
CURSOR = "cursor"
REFRESH = "refresh"
PLAN = "plan"
HEADLINE = "headline"
SPOKEN = "spoken"  # the state alone, for screen readers: the headline changes too often

LANGUAGE_CHOICE = "language-choice"
LANGUAGE = "language"  # of the page's frame and of lessons
ADDRESS_PLACES = "address-places"  # what an address says is open, by name
ADDRESS_FORM = "address-form"  # the form as an address has it
ADDRESS_WRITTEN = "address-written"  # stays empty: a script writes the address
ADDRESS_LOCKED = "address-locked"  # names of the controls that a link keeps as they are
LOCKED_NOTE = "locked-note"
ADDRESS_PROBLEM = "address-problem"
COPY_ADDRESS = "copy-address"

RECIPE = "recipe"
RECIPE_SUMMARY = "recipe-summary"
DIFFERS = "differs"
SETTINGS_SEARCH = "settings-search"
SETTINGS_FOUND = "settings-found"  # says when no setting has the words searched for
UNUSED = "unused"  # the advanced settings that have no effect now
MODIFIED = "modified"
UNDO = "undo"
CORPUS_NOTE = "corpus-note"
INITIALIZE = "initialize"
START = "start"
PAUSE = "pause"
STOP = "stop"
START_OVER = "start-over"
START_OVER_ASK = "start-over-ask"
START_OVER_WORDS = "start-over-words"
START_OVER_YES = "start-over-yes"
START_OVER_NO = "start-over-no"
APPLY_RATE = "apply-rate"
LIVE_ACTIONS = "live-actions"
MESSAGE = "message"
PREFLIGHT = "preflight"
OFFER = "offer"
WHY = "why"

RUN = "run"
STATE = "state"
RUN_SHOWN = "run-shown"  # the id of the run whose charts are there
RUN_BEFORE = "run-before"  # the id of the run it is compared with
AFTER = "after"  # what to do with a run that has ended
AFTER_GENERATE = "after-generate"
AFTER_LOOK = "after-look"
AFTER_COMPARE = "after-compare"
AFTER_FURTHER = "after-further"


def strip_number(name: str) -> str:
    """One of the numbers over the charts."""
    return f"strip-{name}"


LOSS = "loss-chart"
SMOOTHING = "smoothing"  # of the loss that is drawn, by the browser
PERPLEXITY = "perplexity-chart"
RATE = "rate-chart"
SAMPLE = "sample"
SAMPLE_STEP = "sample-step"
COACH = "coach"  # what it says of the run, and the press that helps
MILESTONE_CARD = "milestone-card"
MILESTONE_TITLE = "milestone-title"
MILESTONE_TEXTS = "milestone-texts"
GENERATE_NOW = "generate-now"
PANEL = "panel"

WRITER = "writer"
MOMENT_BAR = "moment-bar"
MOMENT = "moment"
MOMENT_GOAL = "moment-goal"  # {"run", "step"}: the moment that an address names
MOMENT_STEPS = "moment-steps"
MOMENT_ASKED = "moment-asked"
MOMENT_AT = "moment-at"  # {"run", "step", "newest"}: which weights Generate and Look inside show
MOMENT_LABEL = "moment-label"
MOMENT_TICK = "moment-tick"
PLAY = "play"
PLAY_TICK = "play-tick"
GENERATE = "generate"
GENERATE_STOP = "generate-stop"
GENERATE_TICK = "generate-tick"
WRITING = "writing"  # {"shown": [ids of one or two writings]}
WRITTEN = "written"  # how much of each is on the page
WRITINGS = "writings"  # the tree of all that this page has asked for
PICKED = "picked"  # {"writing", "place"}: the token that is looked at
PROMPT_GIVEN = "prompt-given"  # {"run", "prompt"}: what stands there for that model, not typed
PICKED_LOGITS = "picked-logits"  # what the token was drawn from, for the sliders
PICKED_CUT = "picked-cut"
PLAYED = "played"  # the moment whose text Play wants
PICKED_HEAD = "picked-head"
PICKED_BODY = "picked-body"
BRANCHES = "branches"
AGAINST = "against"
ADAPTERS = "adapters"
ADAPTERS_OF = "adapters-of"  # the model whose adapters are offered
AGAINST_STEP = "against-step"
OUTPUT_2 = "output-2"
CAPTION_2 = "caption-2"
OUTPUT_2_BOX = "output-2-box"
GENERATE_MESSAGE = "generate-message"
GENERATE_CAPTION = "generate-caption"
DROP_UNKNOWN = "drop-unknown"
OUTPUT = "output"

TEXT = "text"
TEXT_FACTS = "text-facts"
TEXT_PREVIEW = "text-preview"
TEXT_PROBLEM = "text-problem"
TEXT_OWN = "text-own"
TEXT_MESSAGE = "text-message"
TEXT_TOKENIZER = "text-tokenizer"
TEXT_VOCABULARY = "text-vocabulary"
DOWNLOAD = "download"
FETCH = "fetch"
FETCH_TICK = "fetch-tick"
ENCODINGS = "encodings"
ENCODING = "encoding"
READ_AS = "read-as"
UNREAD = "unread"
TRAIN_ON = "train-on"
UPLOAD = "upload"
UPLOADED = "uploaded"
PASTE = "paste"
PASTE_NAME = "paste-name"
PASTE_TEXT = "paste-text"
PATH = "path"
ADD_PATH = "add-path"
NEW_NAME = "new-name"
RENAME = "rename"
DELETE = "delete"
STUDY = "study"
STUDY_TICK = "study-tick"
STUDY_STATE = "study-state"
STUDIED = "studied"
SENTENCE = "sentence"
TOKENS = "tokens"
COSTS = "costs"
MERGES = "merges"
MERGE = "merge"
MERGED = "merged"
RANKS = "ranks"
FREQUENT = "frequent"
VERIFIED = "verified"

BRANCH = "branch"
BRANCH_LINE = "branch-line"
BRANCH_CANCEL = "branch-cancel"
ENQUEUE = "enqueue"
KEEP = "keep"
RESUME_OFFER = "resume-offer"
RESUME_WORDS = "resume-words"
RESUME_NOW = "resume-now"
RESUME_LATER = "resume-later"
RESUME_DISMISSED = "resume-dismissed"

RUNS = "runs"
RUNS_TICK = "runs-tick"
RUNS_KNOWN = "runs-known"
RUNS_COUNT = "runs-count"
RUNS_FOLD = "runs-fold"
RUNS_MORE_COLUMNS = "runs-more-columns"
RUNS_COLORS = "runs-colors"  # of the curves that are compared, by run
RUNS_COMPARISON = "runs-comparison"  # the comparison whose row alone is chosen, or none
RUNS_SEARCH = "runs-search"
RUNS_MESSAGE = "runs-message"
RUNS_DETAIL = "runs-detail"
RACE_CARD = "race-card"  # a comparison that is open in Runs
RACE_SEEN = "race-seen"
RACE_TITLE = "race-title"
RACE_FACTS = "race-facts"
RACE_AWAY = "race-away"
RACE_VERDICT = "race-verdict"
RACE_CURVES = "race-curves"
RACE_TABLES = "race-tables"
RUNS_SEEN = "runs-seen"
RUNS_HINT = "runs-hint"
DETAIL_TITLE = "detail-title"
DETAIL_FACTS = "detail-facts"
DETAIL_REASON = "detail-reason"
DETAIL_LOSS = "detail-loss"
DETAIL_RATE = "detail-rate"
DETAIL_SETTINGS = "detail-settings"
DETAIL_SAMPLES = "detail-samples"
DETAIL_CHECKPOINTS = "detail-checkpoints"
DETAIL_ENVIRONMENT = "detail-environment"
DETAIL_LOG = "detail-log"
DETAIL_AWAY = "detail-away"
RUNS_PICKED = "runs-picked"
RUN_DELETE = "run-delete"
RUN_UNDO = "run-undo"
RUN_DELETED = "run-deleted"
RUN_NOTES = "run-notes"
RUN_RESUME = "run-resume"
RUN_SHOW = "run-show"
RUN_EXTEND = "run-extend"
RUN_MORE = "run-more"
RUN_IMPORT = "run-import"
RUN_IMPORTED = "run-imported"
OVERLAY = "overlay"
OVERLAY_AXIS = "overlay-axis"
OVERLAY_SHOWN = "overlay-shown"
OVERLAY_SMOOTH = "overlay-smooth"
OVERLAY_CARD = "overlay-card"
DIFFERENCES = "differences"
QUEUE = "queue"
QUEUE_HEAD = "queue-head"
QUEUE_RUN = "queue-run"
AT_ONCE = "at-once"

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


@dataclass(frozen=True, kw_only=True)
class ResultIds:
    """The ids of a tab that asks for a guess, measures, and shows what came of it."""

    name: str
    prompt: str
    options: str
    guess: str
    show: str
    again: str
    guessed: str
    message: str
    start: str
    stop: str
    cost: str
    state: str
    result: str
    hint: str
    verdict: str
    tables: str
    away: str
    tick: str
    seen: str
    refresh: str

    def place(self, part: Literal["plot", "chart", "note"], place: object) -> dict[str, Any]:
        """Room for a chart and its note, the chart in it, or the note; `place` may be ALL."""
        return {"type": f"{self.name}-{part}", "place": place}


def _results(name: str) -> ResultIds:
    parts = [one.name for one in fields(ResultIds) if one.name != "name"]
    return ResultIds(name=name, **{part: f"{name}-{part}" for part in parts})


EXPERIMENT_PARTS = _results("experiment")
COMPARE_PARTS = _results("compare")

EXPERIMENT = "experiment"  # the key of the one that is shown
EXPERIMENT_QUESTION = "experiment-question"
EXPERIMENT_TITLE = "experiment-title"
GUESSES = "guesses"  # by experiment: the option that was guessed, -1 for shown without guessing
EXPERIMENT_PAUSE = "experiment-pause"
EXPERIMENT_DEFAULTS = "experiment-defaults"
EXPERIMENT_EQUATIONS = "experiment-equations"
EXPERIMENT_LEAK = "experiment-leak"
EXPERIMENT_LEAK_BOX = "experiment-leak-box"

# Compare
COMPARE_QUESTION = "compare-question"
COMPARE_GUESSES = "compare-guesses"
COMPARE_TITLE = "compare-title"
COMPARE_LOOK = "compare-look"
COMPARE_PRESET = "compare-preset"
COMPARE_READY = "compare-ready"
COMPARE_SEEDS = "compare-seeds"
COMPARE_OWN = "compare-own"
COMPARE_RECIPE = "compare-recipe"
COMPARE_RECIPE_PROBLEM = "compare-recipe-problem"
COMPARE_SETTING = "compare-setting"
COMPARE_VALUES = "compare-values"
COMPARE_VALUES_HELP = "compare-values-help"
COMPARE_VALUES_PROBLEM = "compare-values-problem"
COMPARE_SECOND = "compare-second"
COMPARE_SECOND_VALUES = "compare-second-values"
COMPARE_SECOND_PROBLEM = "compare-second-problem"
COMPARE_BUDGET = "compare-budget"
COMPARE_AMOUNT = "compare-amount"
COMPARE_AMOUNT_PROBLEM = "compare-amount-problem"
COMPARE_PAUSE = "compare-pause"
COMPARE_GO_ON = "compare-go-on"
COMPARE_AXIS = "compare-axis"
COMPARE_ASKED = "compare-asked"  # the column of a question
COMPARE_TOOL = "compare-tool"  # which tool is shown instead of a question, or none
RATE_PANEL = "finder-panel"
RATE_ABOUT = "finder-about"
RATE_START = "finder-start"
RATE_CANCEL = "finder-cancel"
RATE_TAKE = "finder-take"
RATE_MESSAGE = "finder-message"
RATE_STATE = "finder-state"
RATE_RESULT = "finder-result"
RATE_CHART = "finder-chart"
RATE_SAID = "finder-said"
RATE_TICK = "finder-tick"
RATE_REFRESH = "finder-refresh"
RATE_SEEN = "finder-seen"
SCALING_PANEL = "scaling-panel"
SCALING_CORPUS = "scaling-corpus"
SCALING_SAID = "scaling-said"
SCALING_AGAIN = "scaling-again"
SCALING_CHARTS = "scaling-charts"
SCALING_TABLES = "scaling-tables"

SETTLING_CARD = "settling-card"
SETTLING_CHART = "settling-chart"
SETTLING_STEP = "settling-step"
SETTLING_TICK = "settling-tick"
SETTLING_SEEN = "settling-seen"

LESSON = "lesson"  # {"at": slug, "read": [slugs]}, kept by the browser
LESSON_BODY = "lesson-body"
LESSON_HEAD = "lesson-head"
LESSON_BACK = "lesson-back"
LESSON_NEXT = "lesson-next"
LESSON_PROGRESS = "lesson-progress"
LESSON_SEARCH = "lesson-search"
LESSON_TICK = "lesson-tick"
LESSON_SEEN = "lesson-seen"


def lesson_button(lesson: str) -> dict[str, str]:
    """The entry of one lesson in the list."""
    return {"type": "lesson-button", "lesson": lesson}


def lesson_check(name: str) -> dict[str, str]:
    """Where a check of the learner's own run is shown."""
    return {"type": "lesson-check", "name": name}


def lesson_maker(name: str) -> dict[str, str]:
    """The button that makes what a check is missing."""
    return {"type": "lesson-maker", "name": name}


def lesson_cost(lines: str) -> dict[str, str]:
    """What pressing a lesson's button costs; `lines` are those of the button."""
    return {"type": "lesson-cost", "lines": lines}


def experiment_button(experiment: str) -> dict[str, str]:
    """The entry of one experiment in the list."""
    return {"type": "experiment-button", "experiment": experiment}


def experiment_badge(experiment: str) -> dict[str, str]:
    """How an experiment stands, in the list."""
    return {"type": "experiment-badge", "experiment": experiment}


def experiment_fields(experiment: str) -> dict[str, str]:
    """The controls of one experiment."""
    return {"type": "experiment-fields", "experiment": experiment}


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


def experiment_setting(experiment: str, name: str) -> dict[str, str]:
    """The control of one setting of an experiment."""
    return {"type": "experiment-setting", "experiment": experiment, "name": name}


def experiment_problem(experiment: str, name: str) -> dict[str, str]:
    """Where the error of one setting of an experiment is shown."""
    return {"type": "experiment-problem", "experiment": experiment, "name": name}


@dataclass(frozen=True)
class QueueButton:
    """A button of one training in the queue: `what` is up, down or remove."""

    what: str
    item: str

    def as_id(self) -> dict[str, str]:
        """As Dash takes it."""
        return {"type": "queue-button", **asdict(self)}


@dataclass(frozen=True)
class CheckpointButton:
    """The button that branches from a checkpoint of the run shown."""

    checkpoint: str

    def as_id(self) -> dict[str, str]:
        """As Dash takes it."""
        return {"type": "checkpoint-button", **asdict(self)}


def queue_button(triggered: object) -> QueueButton | None:
    """The button of the queue that has this id, as `ctx.triggered_id` gives it."""
    if isinstance(triggered, Mapping) and triggered.get("type") == "queue-button":
        return QueueButton(str(triggered["what"]), str(triggered["item"]))
    return None


def checkpoint_button(triggered: object) -> CheckpointButton | None:
    """The button of a checkpoint that has this id, as `ctx.triggered_id` gives it."""
    if isinstance(triggered, Mapping) and triggered.get("type") == "checkpoint-button":
        return CheckpointButton(str(triggered["checkpoint"]))
    return None


def alternative(token: int) -> dict[str, str]:
    """The button that branches with another token."""
    return {"type": "alternative", "token": str(token)}


def adapter(place: str) -> str:
    """The choice of an adapter in Generate."""
    return f"adapter-{place}"


def strength(place: str) -> str:
    """How much that adapter counts."""
    return f"strength-{place}"


def draw_slider(name: str) -> dict[str, str]:
    """The slider of temperature, top-k or top-p beside the probabilities of a token."""
    return {"type": "draw-slider", "name": name}


def token_chance(place: int) -> dict[str, str | int]:
    """Where the share that a token is drawn with stands."""
    return {"type": "token-chance", "place": place}


def writing_button(writing: str) -> dict[str, str]:
    """The button that shows a writing of the tree."""
    return {"type": "writing-button", "writing": writing}


def setting(group: str, name: str) -> dict[str, str]:
    """The control of one setting."""
    return {"type": "setting", "group": group, "name": name}


def key_of(component: ComponentId) -> str:
    """The setting that a control, its field or its error belongs to, as group.name."""
    return f"{component.get('group', 'sample')}.{component['name']}"


def sample_setting(name: str) -> dict[str, str]:
    """The control of one setting of Generate."""
    return {"type": "sample-setting", "name": name}


def problem(group: str, name: str) -> dict[str, str]:
    """Where the error of one setting is shown."""
    kind = "sample-problem" if group == "sample" else "problem"
    return {"type": kind, "group": group, "name": name}


def compare_button(question: str) -> dict[str, str]:
    """The entry of a question in the list."""
    return {"type": "compare-button", "question": question}


def compare_tool(tool: str) -> dict[str, str]:
    """The entry of a tool in the list of questions."""
    return {"type": "compare-tool", "tool": tool}


def scaling_chart(axis: str) -> str:
    """The chart of the loss against parameters or FLOPs."""
    return f"scaling-chart-{axis}"


def scaling_rest(axis: str) -> str:
    """The chart of the residuals below it."""
    return f"scaling-rest-{axis}"


def compare_badge(question: str) -> dict[str, str]:
    """How a question stands, in the list."""
    return {"type": "compare-badge", "question": question}

"""Names of the parts of the Compare tab that callbacks speak of."""

from transformer_lab.ui.results.ids import result_ids

COMPARE_PARTS = result_ids("compare")

COMPARE_QUESTION = "compare-question"
COMPARE_GUESSES = "compare-guesses"
COMPARE_TITLE = "compare-title"
COMPARE_LOOK = "compare-look"
COMPARE_PRESET = "compare-preset"
COMPARE_READY = "compare-ready"
COMPARE_SEEDS = "compare-seeds"
COMPARE_WHERE = "compare-where"
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
RATE_TOOL = "rate"  # its name among the tools
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

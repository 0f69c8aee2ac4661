"""The forms in which a run can be exported, each with a link or the reason why there is none."""

from urllib.parse import quote

from dash import html
from dash.development.base_component import Component

from transformer_lab.exchange import why_not
from transformer_lab.exchange.peft import NONE
from transformer_lab.recipes import setup_from
from transformer_lab.runs.checkpoint import ADAPTER, BASE
from transformer_lab.runs.run import DamagedRunError, Run

WITHOUT_SETTINGS = ("run.zip", "weights.zip", "metrics.csv")  # possible even if run.json is lost
WITHOUT_WEIGHTS = ("run.zip", "metrics.csv", "generate.py")  # need no checkpoint
OFFERS = (
    ("run.zip", "The whole run", "To keep, send, or import into another lab: settings, metrics, "
     "samples, moments, checkpoints with the state of the optimizer."),
    ("weights.zip", "The run without training state", "The same, much smaller: enough to "
     "generate and to look inside, but not to resume training exactly."),
    ("huggingface.zip", "For Hugging Face transformers", "A folder that AutoModelForCausalLM "
     "and AutoTokenizer load, with the same logits."),
    ("adapter.zip", "The adapter alone, for PEFT", "What was learned by LoRA as "
     "adapter_model.safetensors, beside its base as a Hugging Face folder."),
    ("standalone.zip", "Standalone: script, notebook, weights", "One Python script that needs "
     "only torch, a Jupyter notebook of this run, and the weights both read."),
    ("generate.py", "The script alone", "The code of this model, in one file."),
    ("notebook.ipynb", "The notebook alone", "What the run is, its curve, its model."),
    ("metrics.csv", "Metrics as CSV", "One row for each step."),
)  # fmt: skip


def downloads(run: Run) -> list[Component]:
    """A link for each form in which a run can be exported, or why it cannot."""
    problem, reasons = "", []
    try:
        reasons = why_not(setup_from(run.manifest["setup"]).model, run.tokenizer.to_json())
    except DamagedRunError as error:
        problem = str(error)
    saved = _has_checkpoint(run)
    parts: list[Component] = []
    for name, title, help in OFFERS:
        refusal = problem if name not in WITHOUT_SETTINGS else ""
        if not saved and name not in WITHOUT_WEIGHTS:
            refusal = refusal or "Nothing is saved yet."
        if name == "huggingface.zip" and reasons:
            refusal = f"Not this model. {' '.join(reasons)}"
        if name == "adapter.zip":
            refusal = refusal or _no_adapter(run, reasons)
        link = html.A(title, href=f"download/{quote(run.id)}/{name}", download="")
        parts.append(html.Div([html.Span(title) if refusal else link, html.P(refusal or help)]))
    return parts


def _has_checkpoint(run: Run) -> bool:
    try:
        return bool(run.usable_checkpoints())
    except DamagedRunError:
        return False


def _no_adapter(run: Run, reasons: list[str]) -> str:
    """Why a run has no adapter to export; empty when it has one."""
    if not (run.folder / "checkpoints" / BASE).is_dir() or not any(
        (folder / ADAPTER).is_file() for folder in run.resume_points()
    ):
        return NONE
    return f"Not this model. {' '.join(reasons)}" if reasons else ""

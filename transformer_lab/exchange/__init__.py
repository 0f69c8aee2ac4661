"""Exchange: export a run in a form that needs no lab, and import one.

Everything works on the folder of a run. `archive.py` and `arrival.py`: one .zip, out and in.
`huggingface.py`, `script.py`, `notebook.py`: the model for use elsewhere; `hf_arrival.py`,
`peft_arrival.py`: a GPT-2 or an adapter from elsewhere.
"""

from transformer_lab.exchange.archive import write_archive
from transformer_lab.exchange.arrival import read_archive
from transformer_lab.exchange.bundle import write_bundle
from transformer_lab.exchange.errors import ExportRefusedError, ImportRefusedError
from transformer_lab.exchange.huggingface import save_huggingface, why_not, write_huggingface
from transformer_lab.exchange.incoming import bring_in, bring_in_folder
from transformer_lab.exchange.limits import Limits
from transformer_lab.exchange.metrics_csv import write_metrics_csv
from transformer_lab.exchange.notebook import notebook_text
from transformer_lab.exchange.run_folder import read_manifest
from transformer_lab.exchange.script import script_text

__all__ = [
    "ExportRefusedError",
    "ImportRefusedError",
    "Limits",
    "bring_in",
    "bring_in_folder",
    "notebook_text",
    "read_archive",
    "read_manifest",
    "save_huggingface",
    "script_text",
    "why_not",
    "write_archive",
    "write_bundle",
    "write_huggingface",
    "write_metrics_csv",
]

"""Run all experiments, and write their tables as Markdown and their numbers as CSV files.

    python -m transformer_lab.experiments.report docs [race gradients ...]

takes about half an hour and writes, after each experiment, docs/pcn_results.md,
docs/pcn_tables/*.csv and, between its two marks, the part of docs/pcn_executive_summary.md that
holds results. Sections that are not measured anew stay, so what was interrupted goes on with the
experiments that are missing, by their names. `figures.py` fills in the numbers in the prose.
"""

import csv
import io
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from transformer_lab.experiments.catalogue import EXPERIMENTS
from transformer_lab.experiments.experiment import Experiment, Result, Table
from transformer_lab.experiments.statistics import COMPARED
from transformer_lab.experiments.transformer_variants import CHOSEN
from transformer_lab.settings import Config, plain, settings_of

SEEDS = 8
LAST = ("transformers",)  # what takes longest is measured last
RESULTS = "pcn_results.md"
SUMMARY = "pcn_executive_summary.md"
TABLES = "pcn_tables"
VERDICTS = "verdicts.csv"  # every comparison, as it is judged
OLD_VERDICTS = "old_verdicts.csv"  # what the first report said, by hand; see `changed`
BEGIN = "<!-- results: written by `make pcn-report`, do not edit -->"
END = "<!-- end of results -->"
# Other settings than the defaults, where a report can wait longer than a page.
CHANGES: Mapping[str, Mapping[str, Any]] = {"transformers": dict.fromkeys(CHOSEN, True)}
VARIANTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "leak": {"With the paper's top width": {"top_width": 10}},
}


def write_report(
    folder: Path,
    seeds: int = SEEDS,
    *,
    tell: Callable[[str], None] = lambda words: None,
    experiments: Mapping[str, Experiment[Any, Any]] = EXPERIMENTS,
    settings: Mapping[str, Config] | None = None,
) -> list[Path]:
    """Run every experiment with `seeds` seeds, and write what came out; returns the files.

    `settings` gives other settings than the defaults for some experiments, by key; those have no
    variants.
    """
    written: list[Path] = []
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TABLES).mkdir(exist_ok=True)
    sections = sections_in(folder / RESULTS)
    for key in sorted(experiments, key=lambda key: key in LAST):
        experiment = experiments[key]
        tell(f"{experiment.title} ...\n")
        begun = time.process_time()
        given = (settings or {}).get(key)
        chosen = given or preset(experiment, seeds, CHANGES.get(key))
        result = final_result(experiment, chosen)
        parts = [section(experiment, chosen, result)]
        for title, changes in VARIANTS.get(key, {}).items() if given is None else ():
            other = preset(experiment, seeds, changes)
            found = final_result(experiment, other)
            parts.append("\n".join([f"### {title}\n", *measured(experiment, other, found)]))
            write_csv(folder / TABLES / f"{key}_variant.csv", experiment.rows(found))
        seconds = f"Measured in {time.process_time() - begun:.0f} s of one CPU thread.\n"
        sections[key] = "\n".join([*parts, seconds])
        write_csv(folder / TABLES / f"{key}.csv", experiment.rows(result))
        keep_verdicts(folder / TABLES / VERDICTS, experiment, result)
        tell(f"  {experiment.verdict(result)}\n  {seconds}")
        written = put_together(folder, [sections[one] for one in EXPERIMENTS if one in sections])
    return [folder / TABLES / f"{key}.csv" for key in experiments] + written


def sections_in(path: Path) -> dict[str, str]:
    """The sections that are written already, by the experiment's key; those stay as they are"""
    if not path.is_file():
        return {}
    parts = path.read_text(encoding="utf-8").split("\n## ")[1:]
    by_title = {part.partition("\n")[0]: f"## {part.rstrip()}\n" for part in parts}
    return {key: by_title[one.title] for key, one in EXPERIMENTS.items() if one.title in by_title}


def put_together(folder: Path, sections: Sequence[str]) -> list[Path]:
    """Write the sections there are into the results and, where its marks are, the summary."""
    body = "\n".join([*sections, *changed(folder / TABLES)])
    path = folder / RESULTS
    path.write_text(f"{heading()}\n{body}", encoding="utf-8")
    if put_between_marks(folder / SUMMARY, body):
        return [path, folder / SUMMARY]
    return [path]


def keep_verdicts(path: Path, experiment: Experiment[Any, Any], result: Result) -> None:
    """Write the comparisons of one experiment into the file of all, which stay as they are."""
    others = [one for one in read_csv(path) if one["experiment"] != experiment.key]
    ours = [
        {"experiment": experiment.key, **dict(zip(table.columns, row, strict=True))}
        for table in experiment.tables(result)
        if table.columns == COMPARED
        for row in table.rows
    ]
    order = list(EXPERIMENTS)
    write_csv(path, sorted([*others, *ours], key=lambda one: order.index(one["experiment"])))


def changed(tables: Path) -> list[str]:
    """What the first report said, with three seeds and other rules, beside what is said now."""
    now = {(one["experiment"], one["difference"]): one for one in read_csv(tables / VERDICTS)}
    rows = [
        [EXPERIMENTS[key].title, one["difference"], one["verdict"], said]
        for one in read_csv(tables / OLD_VERDICTS)
        for key in [one["experiment"]]
        if (new := now.get((key, one["difference"])))
        for said in [f"{new['mean and interval']}, {new['seeds']} seeds: {new['verdict']}"]
    ]
    if not rows:
        return []
    title = (
        "The first report had three seeds, one split of the digits, and called a difference clear "
        "when it had one sign in all seeds and passed a t-test, whatever the number of comparisons"
    )
    columns = ["experiment", "difference", "old verdict", "new verdict"]
    return [
        "## Old verdict, new verdict\n",
        markdown(Table(title=title, columns=columns, rows=rows)),
    ]


def preset(
    experiment: Experiment[Any, Any], seeds: int, changes: Mapping[str, Any] | None = None
) -> Config:
    """The experiment's defaults, with so many seeds where it has them, and some changes."""
    has_seeds = any(setting.name == "seeds" for setting in settings_of(experiment.settings))
    return experiment.settings(**({"seeds": seeds} if has_seeds else {}), **(changes or {}))


def final_result(experiment: Experiment[Any, Any], settings: Config) -> Result:
    """Run to the end. Raises ValueError when nothing was yielded."""
    last = None
    for partial in experiment.run(settings, ()):
        last = partial
    if last is None:
        raise ValueError(f"{experiment.key} yielded nothing.")
    return last.result


def heading() -> str:
    """What the file is, and what it was made with."""
    return (
        "# Predictive coding: results\n\n"
        "Written by `make pcn-report`; every number was measured by the code beside it. Means over "
        "seeds, with the range in brackets. "
        f"PyTorch {torch.__version__}, Python {platform.python_version()}, one thread.\n"
    )


def section(experiment: Experiment[Any, Any], settings: Config, result: Result) -> str:
    """One experiment: question, settings, tables, verdict."""
    parts = [
        f"## {experiment.title}\n",
        f"{experiment.question}\n",
        *measured(experiment, settings, result),
        f"All numbers: `{TABLES}/{experiment.key}.csv`.\n",
    ]
    return "\n".join(parts)


def measured(experiment: Experiment[Any, Any], settings: Config, result: Result) -> list[str]:
    """Settings, tables, verdict and notes, a paragraph each."""
    values = ", ".join(
        f"{setting.label} {shown(getattr(settings, setting.name))}"
        for setting in settings_of(type(settings))
    )
    return [
        f"Settings: {values}.\n",
        *(markdown(table) for table in experiment.tables(result)),
        f"**{experiment.verdict(result)}**\n",
        *(f"{plot.note}\n" for plot in result.plots() if plot.note),
    ]


def shown(value: Any) -> str:
    """A setting's value as people write it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return plain(value) if isinstance(value, int | float) else str(value)


def markdown(table: Table) -> str:
    """A table in Markdown, under its title."""
    lines = [f"{table.title}:", "", line(table.columns), line(["---"] * len(table.columns))]
    return "\n".join([*lines, *map(line, table.rows), ""])


def line(cells: Sequence[str]) -> str:
    """One row of a Markdown table; what a model wrote may hold marks, which are only text here."""
    escaped = (re.sub(r"([|*`_<$])", r"\\\1", cell) for cell in cells)
    return f"| {' | '.join(escaped)} |"


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows with the same keys, as a CSV file."""
    path.write_text(csv_text(rows), encoding="utf-8", newline="")


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of such a file; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows with the same keys as comma-separated values; numbers with six digits."""
    found = list(rows)
    names = list(found[0]) if found else []
    text = io.StringIO()
    out = csv.DictWriter(text, names, lineterminator="\n")
    out.writeheader()
    for row in found:
        out.writerow(
            {
                key: f"{value:.6g}" if isinstance(value, float) else value
                for key, value in row.items()
            }
        )
    return text.getvalue()


def put_between_marks(path: Path, body: str) -> bool:
    """Replace what stands between the marks of a file; False when it has none."""
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return False
    path.write_text(f"{before}{BEGIN}\n\n{deeper(body)}\n{END}{after}", encoding="utf-8")
    return True


def deeper(body: str) -> str:
    """The same text with every heading one level down."""
    return "\n".join(f"#{row}" if row.startswith("#") else row for row in body.split("\n"))


def main(arguments: Sequence[str], tell: Callable[[str], Any]) -> int:
    """The command: where to write, `docs` if nothing is said; then which, all if none is named."""
    folder, *keys = arguments or ["docs"]
    if unknown := [key for key in keys if key not in EXPERIMENTS]:
        tell(f"There is no experiment {unknown[0]}: choose of {', '.join(EXPERIMENTS)}.\n")
        return 2
    wanted = {key: one for key, one in EXPERIMENTS.items() if key in keys or not keys}
    torch.set_num_threads(1)  # so that the numbers do not depend on how many there are
    for path in write_report(Path(folder), tell=tell, experiments=wanted):
        tell(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdout.write))

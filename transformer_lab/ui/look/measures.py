"""Every head in numbers, and what heads with plain habits are called."""

import dash_ag_grid as dag
from dash import html

from transformer_lab.inspection.attention import HEAD_MEASURES
from transformer_lab.inspection.induction import LOOKS_BACK
from transformer_lab.lab.looking.looks import AttentionLook, MeasuresLook
from transformer_lab.ui.look import ids
from transformer_lab.ui.look.parts import named, note

PLAIN = {  # share of its attention from which on a head is called so, and what it is called
    "induction": (LOOKS_BACK, "induction"),
    "previous_token": (0.5, "previous"),
    "own_token": (0.5, "own token"),
    "first_token": (0.5, "first token"),
}
PARTLY = (2.0, 0.1)  # times a head that looks at everything alike, and share: it leans that way
EVEN = 0.9  # of the highest entropy: it looks at everything nearly alike
MEASURES = list(HEAD_MEASURES)


def layout() -> html.Section:
    """The table, and what its columns mean."""
    meanings = [
        html.Div([html.Dt(measure.label), html.Dd(measure.definition)], className="row-pair")
        for measure in HEAD_MEASURES.values()
    ]
    return html.Section(
        [
            html.H2("Every head in numbers"),
            html.Div(
                "Click a column to sort by it, a row to enlarge that head.",
                className="quiet",
            ),
            _grid(),
            note(ids.MEASURES_NOTE),
            html.Details(
                [html.Summary("What the measures mean"), html.Dl(meanings, className="meanings")]
            ),
        ],
        className="card",
        **named("Measures of heads"),
    )


def _grid() -> dag.AgGrid:
    measured = [
        {
            "field": key,
            "headerName": measure.label,
            "headerTooltip": measure.definition,
            "width": 132 if len(measure.label) > 14 else 114,
            "type": "rightAligned",
            "valueFormatter": {"function": "params.value.toFixed(3)"},
        }
        for key, measure in HEAD_MEASURES.items()
    ]
    return dag.AgGrid(
        id=ids.MEASURES,
        columnDefs=[
            {"field": "name", "headerName": "Head", "pinned": "left", "width": 130},
            *measured,
            {"field": "kind", "headerName": "Kind of head", "flex": 1, "minWidth": 130},
        ],
        rowData=[],
        getRowId="params.data.id",
        defaultColDef={"sortable": True, "resizable": True},
        dashGridOptions={
            "rowHeight": 28,
            "headerHeight": 32,
            "domLayout": "autoHeight",
            "suppressMovableColumns": True,
            "rowSelection": {
                "mode": "singleRow", "checkboxes": False, "enableClickSelection": True,
            },
        },
        className="ag-theme-quartz lab-grid",
        style={"height": None},
    )  # fmt: skip


def kinds(look: AttentionLook, measured: MeasuresLook | None) -> dict[tuple[int, int], str]:
    """Heads that plainly do something known, and what."""
    if measured is None:
        return {}
    found = {}
    for row, layer in enumerate(look.layers):
        for head in range(look.tiles.shape[1]):
            values = dict(zip(MEASURES, measured.values[:, row, head].tolist(), strict=True))
            plainly = [key for key, (share, _) in PLAIN.items() if values[key] >= share]
            if plainly:
                found[layer, head] = f"{PLAIN[plainly[0]][1]} {values[plainly[0]]:.0%}"
    return found


def _leaning(values: dict[str, float], even: dict[str, float]) -> str:
    """What a head without a plain habit does rather than look at everything alike."""
    times, share = PARTLY
    leans = {key: values[key] / max(even[key], 1e-9) for key in PLAIN if values[key] >= share}
    strongest = max(leans, key=leans.__getitem__, default="")
    if strongest and leans[strongest] >= times:
        return f"partly {PLAIN[strongest][1]} {values[strongest]:.0%}"
    if values["entropy"] >= EVEN * even["entropy"]:
        return "everything alike"
    return "near tokens" if values["distance"] < even["distance"] / times else "mixed"


def rows(look: AttentionLook, measured: MeasuresLook | None) -> list[dict[str, str | float]]:
    """A line of the table for each head."""
    if measured is None:
        return []
    names, lines = kinds(look, measured), []
    even = dict(zip(MEASURES, measured.even.tolist(), strict=True))
    for row, layer in enumerate(look.layers):
        for head in range(look.tiles.shape[1]):
            values = dict(zip(MEASURES, measured.values[:, row, head].tolist(), strict=True))
            lines.append(
                {
                    "id": f"{layer} {head}",
                    "name": f"layer {layer + 1}, head {head + 1}",
                    "kind": names.get((layer, head)) or _leaning(values, even),
                    **{key: round(value, 4) for key, value in values.items()},
                }
            )
    return lines


def even(measured: MeasuresLook | None) -> str:
    """What the numbers are to be compared with."""
    if measured is None:
        return ""
    values = zip(HEAD_MEASURES.values(), measured.even, strict=True)
    return "Uniform attention would have: " + ", ".join(
        f"{measure.label.split(',')[0].lower()} {value:.3f}" for measure, value in values
    )

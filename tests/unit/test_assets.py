"""Style sheets and scripts: a tab's own style sheet styles that tab alone."""

import re
from pathlib import Path

import pytest

from transformer_lab.packaged import packaged

ASSETS = Path(str(packaged("assets")))
UI = Path(__file__).parents[2] / "transformer_lab" / "ui"
TABS_OF = {  # the tabs that each style sheet is for; the others are for the whole page
    "learn.css": ("learn",),
    "look.css": ("look",),
    "pcn.css": ("experiments", "compare", "results"),
    "runs.css": ("runs",),
}
CLASS = re.compile(r"\.(-?[A-Za-z_][\w-]*)")
FRAMES = re.compile(r"@keyframes[^{]*\{(?:[^{}]*\{[^{}]*\})*\s*\}")
AT_RULE = re.compile(r"@media[^{]*\{")


def selectors(sheet: str) -> list[str]:
    """Every single selector of a style sheet, those within @media too."""
    plain = re.sub(r"/\*.*?\*/", "", sheet, flags=re.S)
    heads = re.findall(r"([^{}]+)\{", AT_RULE.sub("", FRAMES.sub("", plain)))
    return [one for head in heads for one in _split(head) if not one.startswith("@")]


def _split(head: str) -> list[str]:
    """The selectors of a list, whose commas may stand within brackets too."""
    depth, parts = 0, [""]
    for letter in head.strip():
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def classes(folder: Path) -> set[str]:
    """Every word in a string on the lines of the Python files that speak of classes or styles."""
    lines = [
        line
        for path in folder.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "class" in line.lower() or "style" in line
    ]
    return {word for text in re.findall(r'"([^"]*)"', "\n".join(lines)) for word in text.split()}


def strays(sheet: str, foreign: set[str]) -> list[str]:
    """Selectors that could hit something of another tab: each of their names stands there too."""
    return [
        selector
        for selector in selectors(sheet)
        if not [name for name in (*CLASS.findall(selector), *_ids(selector)) if name not in foreign]
    ]


def _ids(selector: str) -> list[str]:
    return re.findall(r"(?:#|\[data-)([A-Za-z][\w-]*)", selector)


@pytest.mark.parametrize("name", sorted(TABS_OF))
def test_a_tabs_style_sheet_styles_no_other_tab(name: str):
    own = {UI / tab for tab in TABS_OF[name]}
    folders = [path for path in UI.iterdir() if path.is_dir() and path not in own]
    foreign = set().union(*(classes(folder) for folder in folders))
    sheet = (ASSETS / name).read_text(encoding="utf-8")
    assert strays(sheet, foreign) == []


def test_the_check_finds_a_selector_that_hits_another_tab():
    assert strays(".code { } .mine .code, #own a { }", {"code"}) == [".code"]
    assert strays("@media (max-width: 9px) { .a:is(.b, .c) { } details { } }", {"a", "b", "c"}) == [
        ".a:is(.b, .c)",
        "details",
    ]


@pytest.mark.parametrize("script", sorted(ASSETS.glob("*.js")), ids=lambda path: path.name)
def test_no_script_watches_the_whole_document_for_ever(script: Path):
    text = script.read_text(encoding="utf-8")
    watches = re.findall(r"\.observe\(document(?:\.body)?,", text)
    assert len(watches) <= text.count(".disconnect()")

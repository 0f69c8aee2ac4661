"""The plain pages before a learner's own: no script, light and dark as the browser asks for it."""

from html import escape

from transformer_lab.lab.classroom.people import CODE_LENGTH, LONGEST

STYLE = """
:root { color-scheme: light dark; --paper: #f4f5f7; --card: #fff; --ink: #1c2127; --quiet: #59636e;
  --line: #8a939d; --accent: #066cab; --on: #fff; --wrong: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --card: #1d2125; --ink: #e6e9ec;
  --quiet: #a3acb6; --line: #77818c; --accent: #5cb3ea; --on: #14171a; --wrong: #ff8a80; } }
* { box-sizing: border-box; }
body { background: var(--paper); color: var(--ink); margin: 0; line-height: 1.45;
  font: 16px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { background: var(--card); border-radius: 8px; margin: 12vh auto 0; max-width: 420px;
  padding: 24px; width: calc(100% - 32px); }
h1 { font-size: 1.25rem; margin: 0 0 8px; } p { margin: 0 0 16px; }
label { display: block; font-weight: 600; margin: 16px 0 4px; }
input { background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  color: var(--ink); font: inherit; padding: 8px 12px; width: 100%; }
[aria-invalid=true] { border-color: var(--wrong); }
.help { color: var(--quiet); font-size: 0.87rem; margin: 4px 0 0; }
.wrong { color: var(--wrong); margin: 4px 0 0; }
button { background: var(--accent); border: 0; border-radius: 6px; color: var(--on);
  cursor: pointer; font: inherit; font-weight: 600; margin-top: 24px; padding: 8px 24px; }
a { color: var(--accent); } :focus-visible { outline: 2px solid var(--accent);
  outline-offset: 2px; }
"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - Transformer Lab</title>
<style>{style}</style>
</head>
<body><main>{content}</main></body>
</html>"""
PLACE = "/enter"
LEAVE = "/leave"


def _page(title: str, content: str) -> str:
    return PAGE.format(title=escape(title), style=STYLE, content=content)


def _field(label: str, name: str, value: str, help: str, problem: str, more: str) -> str:
    wrong = f'<p class="wrong" id="{name}-wrong" role="alert">{escape(problem)}</p>'
    described = f"{name}-wrong {name}-help" if problem else f"{name}-help"
    return (
        f'<label for="{name}">{label}</label>'
        f'<input id="{name}" name="{name}" value="{escape(value)}" autocomplete="off" '
        f'aria-describedby="{described}" aria-invalid="{str(bool(problem)).lower()}" {more}>'
        f"{wrong if problem else ''}"
        f'<p class="help" id="{name}-help">{escape(help)}</p>'
    )


def enter(base_path: str, name: str = "", wrong: str = "", problem: str = "") -> str:
    """Asks for a name; `wrong` is the field that has the problem."""
    name_problem, code_problem = (problem if wrong == one else "" for one in ("name", "code"))
    fields = _field(
        "Your name",
        "name",
        name,
        "As your class knows you; letters and digits. Others in the class see it.",
        name_problem,
        f'maxlength="{LONGEST}" required {"" if wrong == "code" else "autofocus"}',
    ) + _field(
        "Code (only to come in again)",
        "code",
        "",
        "In another browser than before? Your teacher has a code for you. Else leave it empty.",
        code_problem,
        f'maxlength="{2 * CODE_LENGTH}" {"autofocus" if wrong == "code" else ""}',
    )
    return _page(
        "Come in",
        "<h1>Transformer Lab</h1><p>You get a workspace of your own: what you train and write here "
        "is yours, and is kept until you come back.</p>"
        f'<form method="post" action="{base_path}{PLACE}">{fields}'
        '<button type="submit">Come in</button></form>',
    )


def leave(base_path: str, name: str) -> str:
    """Asks whether this browser shall forget whose workspace it shows."""
    return _page(
        "Leave",
        f"<h1>You are {escape(name)}</h1><p>If others use this browser too, leave your workspace "
        "when you are done. All of it is kept; to come back, ask your teacher for a code.</p>"
        f'<form method="post" action="{base_path}{LEAVE}">'
        f'<button type="submit">Leave</button></form><p style="margin-top: 16px">'
        f'<a href="{base_path}/">Back to my workspace</a></p>',
    )


def told(title: str, words: str, base_path: str) -> str:
    """Says why there is no page, and offers to try again."""
    return _page(
        title,
        f'<h1>{escape(title)}</h1><p role="alert">{escape(words)}</p>'
        f'<p><a href="{base_path}/">Try again</a></p>',
    )

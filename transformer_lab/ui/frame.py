"""The page around what Dash draws, and the headers that every answer carries."""

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence

from dash import Dash

from transformer_lab.ui.languages import languages
from transformer_lab.ui.web.guard import Body

# The theme before anything is drawn; and a word when the rest of the page cannot be loaded.
FIRST_SCRIPT = """
  const stored = localStorage.getItem("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.bsTheme = stored || (dark ? "dark" : "light");
  const words = JSON.parse(document.querySelector("meta[name=languages]").content);
  const said = new URLSearchParams(location.search).get("lang");
  const asked = said || localStorage.getItem("language");
  if (asked in words) {
    document.documentElement.lang = asked;
    document.documentElement.dir = words[asked].direction;
  }
  addEventListener("load", () => {
    if (window.dash_clientside && window.React) return;
    const words = "The page could not load its own files. Reload it; if a reverse proxy shows " +
      "the lab under a path such as /lab, start the lab with --base-path /lab.";
    document.getElementById("refusal").textContent = words;
  });
"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
{%metas%}
<title>{%title%}</title>
{%favicon%}
<meta name="limits" content="LIMITS">
<meta name="owners" content="OWNERS">
<meta name="tabs" content="TABS">
<meta name="languages" content="LANGUAGES">
<link rel="stylesheet" href="BASE/vendor/css/bootstrap.min.css">
<link rel="stylesheet" href="BASE/vendor/css/font/bootstrap-icons.min.css">
{%css%}
<script>FIRST_SCRIPT</script>
</head>
<body>
<div id="refusal" role="alert"></div>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""


def frame(
    base_path: str, bodies: Mapping[str, Body], owners: Mapping[str, str], tabs: Sequence[str]
) -> str:
    """The page before Dash fills it, with the limits that its scripts keep to.

    `owners` are the tabs that must be open for a callback to be asked, by its first output; `tabs`
    the titles of all, by which scripts name them in any language.
    """
    limits = {path: body.as_json() for path, body in bodies.items()}
    filled = PAGE.replace("LIMITS", html.escape(json.dumps(limits)))
    filled = filled.replace("OWNERS", html.escape(json.dumps(owners)))
    filled = filled.replace("TABS", html.escape(json.dumps([*tabs])))
    filled = filled.replace("LANGUAGES", html.escape(json.dumps(languages())))
    return filled.replace("BASE", base_path).replace("FIRST_SCRIPT", FIRST_SCRIPT)


def headers_of(app: Dash, *, strict: bool = True) -> dict[str, str]:
    """What every answer carries: the page runs its own scripts only, and shows in no other site.

    Plotly, AG Grid and MathJax write style sheets of their own, hence the inline styles.
    """
    digest = base64.b64encode(hashlib.sha256(FIRST_SCRIPT.encode()).digest()).decode()
    policy = {
        "default-src": "'self'",
        "script-src": " ".join(["'self'", f"'sha256-{digest}'", *app.csp_hashes()]),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'self'",
    }
    written = "; ".join(f"{kind} {who}" for kind, who in policy.items())
    return ({"Content-Security-Policy": written} if strict else {}) | {
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "SAMEORIGIN",
        "Referrer-Policy": "same-origin",
    }

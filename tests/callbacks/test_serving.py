"""How the files of the page are sent: compressed, and kept by the browser."""

import gzip
import html
import json
import re

from transformer_lab.ui.server import TABS

GZIP = {"Accept-Encoding": "gzip"}


def addresses(page):
    served = page.client.get("/").get_data(as_text=True)
    return [
        html.unescape(one) for one in re.findall(r'(?:src|href)="([^"]+\.(?:js|css)[^"]*)"', served)
    ]


def test_every_script_and_style_sheet_leaves_compressed_and_is_the_same(visited):
    found = addresses(visited)
    assert len(found) > 10
    for address in found:
        packed = visited.client.get(address, headers=GZIP)
        plain = visited.client.get(address).get_data()
        assert packed.headers["Content-Encoding"] == "gzip", address
        assert "Accept-Encoding" in packed.headers["Vary"]
        assert gzip.decompress(packed.get_data()) == plain
        assert len(packed.get_data()) == packed.content_length < max(0.6 * len(plain), 400), address
        assert packed.headers["Content-Security-Policy"]


def test_a_file_whose_address_changes_with_it_is_kept_without_asking(visited):
    for address in addresses(visited):
        kept = visited.client.get(address).cache_control
        assert kept.max_age >= 86_400, address
        assert not kept.no_cache, address


def test_downloads_leave_as_they_are_and_short_answers_too(trained):
    run = trained.client.get("/download/quick-start-1/metrics.csv", headers=GZIP)
    assert run.status_code == 200
    assert "Content-Encoding" not in run.headers
    layout = trained.client.get("/_dash-layout", headers=GZIP)
    assert layout.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(layout.get_data()))["props"]


def test_what_waits_for_a_tab_is_not_asked_for_while_another_is_open(visited):
    """The page knows which callbacks those are. Asked all the same, they slow their poll only."""
    served = visited.client.get("/").get_data(as_text=True)
    owners = json.loads(html.unescape(re.search(r'name="owners" content="([^"]*)"', served)[1]))
    assert set(owners.values()) == {tab.TITLE for tab in TABS} - {"Generate"}
    for output, owner in owners.items():
        visited.values["tabs", "active_tab"] = "Generate"
        changed = visited.fire(output, "tabs.active_tab")
        shown = {f"{name}.{prop}" for name, props in changed.items() for prop in props}
        resting = [one for one in shown if one.endswith((".interval", "-seen.data"))]
        assert sorted(shown) == sorted(resting), (output, owner)

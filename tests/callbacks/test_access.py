"""The token that visitors must bring where other computers reach the lab."""

from typing import Any

import pytest

from transformer_lab.lab.lab import Lab
from transformer_lab.ui.server import create_app
from transformer_lab.ui.web.access import Access

TOKEN = "a-token-of-24-characters"


@pytest.fixture(scope="module", params=["", "/lab"])
def site(request, tmp_path_factory) -> Any:
    """Where a lab with a token is, and something that makes a new visitor of it."""
    lab = Lab(tmp_path_factory.mktemp("token"))
    app = create_app(lab, base_path=request.param, token=TOKEN)
    yield request.param, app.server.test_client
    lab.close()


def test_a_stranger_sees_nothing_but_how_to_come_in(site):
    base, visitor = site
    for path in (
        "/",
        "/_dash-layout",
        "/_dash-dependencies",
        "/assets/lab.js",
        "/vendor/x.min.css",
    ):
        found = visitor().get(f"{base}{path}")
        assert found.status_code == 401, path
        assert "open the link that it printed" in found.text
        assert "Set-Cookie" not in found.headers
    posts = (
        ("/_dash-update-component", "application/json"),
        ("/upload", "application/octet-stream"),
    )
    for path, kind in posts:
        found = visitor().post(f"{base}{path}", data=b"{}", content_type=kind)
        assert found.status_code == 401, path
        assert "token" in found.json["error"]


def test_a_link_leads_to_the_same_place_without_the_token_and_is_needed_once(site):
    base, visitor = site
    client = visitor()
    came = client.get(f"{base}/?tab=runs&token={TOKEN}&find=a%26b")
    assert came.status_code == 303
    assert came.headers["Location"] == f"{base}/?tab=runs&find=a%26b"
    cookie = came.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert f"Path={base}/" in cookie
    assert TOKEN not in cookie
    assert client.get(f"{base}/").status_code == 200
    assert client.get(f"{base}/_dash-layout").status_code == 200
    assert visitor().get(f"{base}/").status_code == 401


@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], f"{TOKEN}x", TOKEN.upper(), "\u00e9" * 24])
def test_another_token_is_refused_with_the_way_out(site, token):
    base, visitor = site
    came = visitor().get(f"{base}/", query_string={"token": token})
    assert came.status_code == 401
    assert "ask for its new link" in came.text


def test_no_cookie_but_a_signed_one_counts(site):
    base, visitor = site
    name = Access(TOKEN).cookie
    other = Access("another-token-of-another-lab")._signer.sign("token").decode()
    for forged in ("", "token", TOKEN, f"token.{TOKEN}", other, other[:-1], "\u00e9"):
        client = visitor()
        client.set_cookie(name, forged, path=f"{base}/")
        assert client.get(f"{base}/").status_code == 401, forged


def test_only_opening_a_link_brings_the_cookie(site):
    base, visitor = site
    for method in ("post", "head", "put"):
        came = getattr(visitor(), method)(f"{base}/", query_string={"token": TOKEN})
        assert came.status_code == 401, method
    assert visitor().get(f"{base}/?token={TOKEN}", data=b"a body").status_code == 401


def test_a_path_with_two_slashes_leads_to_no_other_host(site):
    base, visitor = site
    came = visitor().get(f"{base}//evil.example/?token={TOKEN}")
    assert came.headers.get("Location", f"{base}/").startswith(f"{base}/")
    assert not came.headers.get("Location", "").startswith("//")


def test_the_token_is_not_written_where_things_are_shown():
    assert TOKEN not in repr(Access(TOKEN))


def test_who_wants_no_token_is_asked_for_none(visited):
    assert visited.client.get("/").status_code == 200

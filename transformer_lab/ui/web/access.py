"""The token that visitors from other computers must bring once, as a link of the lab's owner.

A link ends in ?token=...; it leads to the page without it, and the browser keeps a signed cookie
from then on, so that the token stands in no address, history or log.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from flask import Request, redirect
from itsdangerous import BadSignature, Signer
from werkzeug.exceptions import abort

NAME = "token"  # of the parameter in a link
SHORTEST = 16  # characters of a token that somebody chooses
ASKED = (
    "This lab asks for its token: open the link that it printed when it started, which ends in "
    f"?{NAME}=..., or add that to this address."
)
WRONG = "This is not the token of this lab. It may have been started anew: ask for its new link."


def new_token() -> str:
    """A token nobody can guess: 192 bits."""
    return secrets.token_urlsafe(24)


class Gate(Protocol):
    """Decides who may ask."""

    def check(self, asked: Request, base_path: str) -> None:
        """Raise what a request is refused with."""


@dataclass(frozen=True)
class Access:
    """Lets those pass who bring the token, or the cookie that they got for it."""

    token: str = field(repr=False)

    @property
    def cookie(self) -> str:
        """The cookie's name, another one for another token: labs on other ports share cookies."""
        return f"lab-{hashlib.sha256(self.token.encode()).hexdigest()[:12]}"

    def check(self, asked: Request, base_path: str) -> None:
        """Raise 401 for a stranger, and a redirection that brings the cookie for a good link.

        `base_path` is where a proxy shows the lab, "" or "/lab".
        """
        if self.signed(asked):
            return
        given = asked.args.get(NAME)
        if given is None or asked.method != "GET" or asked.content_length:
            abort(401, ASKED)
        if not self.same(given):
            abort(401, WRONG)
        self.welcome(asked, base_path)

    def welcome(self, asked: Request, base_path: str) -> NoReturn:
        """Raise the redirection to the same address without the token, which brings the cookie."""
        rest = "&".join(part for part in _parts(asked) if part.partition("=")[0] != NAME)
        path = f"{base_path}/{asked.path.lstrip('/')}"  # on this host, whatever stands in it
        answer = redirect(f"{path}?{rest}" if rest else path, 303)
        answer.set_cookie(
            self.cookie,
            self._signer.sign(NAME).decode(),
            httponly=True,
            samesite="Lax",
            secure=asked.is_secure,
            path=f"{base_path}/",
        )
        abort(answer)

    @property
    def _signer(self) -> Signer:
        return Signer(self.token, salt=__name__, digest_method=hashlib.sha256)

    def signed(self, asked: Request) -> bool:
        """Whether a request brings the cookie."""
        try:
            cookie = asked.cookies.get(self.cookie, "")
            return self._signer.unsign(cookie) == NAME.encode()
        except BadSignature:
            return False

    def same(self, given: str) -> bool:
        """Whether that is the token; it takes as long where it is not."""
        return hmac.compare_digest(given.encode(), self.token.encode())


def _parts(asked: Request) -> list[str]:
    return asked.query_string.decode("latin-1").split("&")

"""What those see who are not in yet: where the tokens are taken, and a name is given."""

from collections.abc import Mapping

from flask import Flask, Response, redirect, request
from werkzeug.exceptions import abort

from transformer_lab.lab.classroom.people import People
from transformer_lab.settings import ConfigError
from transformer_lab.ui.classroom import pages
from transformer_lab.ui.classroom.gates import STRANGER, Cookies, Tokens
from transformer_lab.ui.web.access import NAME, WRONG
from transformer_lab.ui.web.guard import Body, Guard, install

FORM = "application/x-www-form-urlencoded"
BODIES = {
    pages.PLACE: Body(FORM, 4_000, "A name and a code are shorter."),
    pages.LEAVE: Body(FORM, 4_000, "Press the button of the page."),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}


def create_front(people: People, tokens: Tokens, guard: Guard) -> Flask:
    """The application for those who are not in yet, and for coming and going."""
    front = Flask(__name__, static_folder=None)
    cookies, base = Cookies(people), guard.base_path
    install(front, guard, HEADERS)

    @front.before_request
    def token() -> None:
        given = request.args.get(NAME)
        if given is not None:
            tokens.welcome(request, base, given)
            abort(401, WRONG)
        if not (tokens.learners.signed(request) or cookies.person(request)):
            abort(401, STRANGER)

    @front.get("/")
    def ask() -> str:
        return pages.enter(base)

    @front.post(pages.PLACE)
    def enter() -> Response:
        return _enter(people, cookies, tokens, base, request.form)

    @front.get(pages.LEAVE)
    def about_to_leave() -> str:
        person = cookies.person(request)
        return pages.leave(base, person.name) if person else pages.enter(base)

    @front.post(pages.LEAVE)
    def leave() -> Response:
        answer: Response = redirect(f"{base}/", 303)  # type: ignore[assignment]
        cookies.take(answer, base)
        return answer

    keep_private(front)
    return front


def _enter(
    people: People, cookies: Cookies, tokens: Tokens, base: str, given: Mapping[str, str]
) -> Response:
    """A name was given: the cookie of its workspace, or the page again with what is wrong."""
    if not tokens.learners.signed(request):  # a workspace alone opens no other
        abort(401, STRANGER)
    name = given.get("name", "")
    try:
        person = people.enter(name, given.get("code", "").strip())
    except ConfigError as error:
        return Response(pages.enter(base, name, error.field, str(error)), 422, mimetype="text/html")
    answer: Response = redirect(f"{base}/", 303)  # type: ignore[assignment]
    cookies.put(answer, person, request, base)
    return answer


def keep_private(server: Flask) -> None:
    """Have no proxy give one person's answers to another; a browser may keep the page's files."""

    @server.after_request
    def private(response: Response) -> Response:
        cache, files = response.cache_control, ("/_dash-component-suites/", "/assets/", "/vendor/")
        cache.public = False
        if request.path.startswith(files) and response.status_code in (200, 304):
            cache.private = True
        else:
            cache.no_store = True
            cache.max_age = None
        response.vary.add("Cookie")
        return response

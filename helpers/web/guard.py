"""Who may read the dashboard, and what a browser may do with its answers.

Every user of a machine reaches 127.0.0.1, so a request brings the token of the printed URL, once in the address and then as
a cookie, as in Jupyter. Pages of others reach it too, through the browser: they are told by the name they ask for.
"""

from __future__ import annotations

import io
import json
import logging
import secrets
from collections.abc import Callable, Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from helpers.utils.paths import LOOPBACK
from helpers.utils.runtime import is_colab_runtime

logger = logging.getLogger(__name__)

TOKEN = "token"
"""Name of the parameter in the address."""
READS = ("GET", "HEAD")
_SHOWN_TYPES = ("image/png", "text/csv")  # what trials leave; anything else is handed over as a file
_ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


def guarded(app: WSGIApplication, token: str | None) -> WSGIApplication:
    """Pass on requests that read, that ask for this machine by its own name, and that bring the token.

    Args:
        app: What answers them.
        token: None asks for none.
    """

    def answered(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", LOOPBACK).rsplit(":", 1)[0]
        colab = is_colab_runtime()  # its proxy names itself, and one person has the machine
        if not colab and host not in (LOOPBACK, "localhost"):
            return _rejected(start_response, "403 Forbidden", f"Ask {LOOPBACK} or localhost, not another name.")
        if environ["REQUEST_METHOD"] not in READS:
            why = "This dashboard only reads: change studies with the command line."
            return _rejected(start_response, "403 Forbidden", why)
        if "\0" in environ.get("PATH_INFO", ""):
            return _rejected(start_response, "400 Bad Request", "There is no such page.")
        if token is not None and not colab:
            port = environ.get("SERVER_PORT", "")
            given = dict(parse_qsl(environ.get("QUERY_STRING", ""))).get(TOKEN)
            if given is not None and _same(given, token):
                return _let_in(environ, start_response, token, port)
            if not any(_same(cookie, token) for cookie in _cookies(environ, port)):
                why = "Open the address that was printed at the start: it holds a token that only you can read."
                return _rejected(start_response, "403 Forbidden", why)
        environ["wsgi.errors"] = _Log()
        return app(environ, _careful(environ.get("PATH_INFO", ""), start_response))

    return answered


def _let_in(environ: WSGIEnvironment, start_response: StartResponse, token: str, port: str) -> Iterable[bytes]:
    """Hand over the cookies, and lead to the same page without the token in its address."""
    rest = [pair for pair in parse_qsl(environ.get("QUERY_STRING", "")) if pair[0] != TOKEN]
    page = environ.get("PATH_INFO", "").rpartition("/")[2]  # relative: proxies put folders before it
    target = f"{page}?{urlencode(rest)}" if rest else page
    first, second = _names(port)
    headers = [
        ("Location", target or "."),
        ("Set-Cookie", f"{first}={token}; Path=/; HttpOnly; SameSite=Strict"),
        # In a frame of JupyterLab the page is a third party, whose cookies browsers keep apart.
        ("Set-Cookie", f"{second}={token}; Path=/; HttpOnly; SameSite=None; Secure; Partitioned"),
        ("Content-Length", "0"),
        *_ALWAYS,
    ]
    start_response("303 See Other", headers)
    return [b""]


def _names(port: str) -> tuple[str, str]:
    """Names of the cookies: those of all ports of a machine are in one jar."""
    return f"gazegaussian-{port}", f"gazegaussian-frame-{port}"


def _cookies(environ: WSGIEnvironment, port: str) -> list[str]:
    try:
        jar = SimpleCookie(environ.get("HTTP_COOKIE", ""))
    except CookieError:
        return []
    return [jar[name].value for name in _names(port) if name in jar]


def _same(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode(), token.encode())


def _careful(path: str, start_response: StartResponse) -> Callable[..., Any]:
    """Add what browsers must mind; artifacts come from whoever made the study."""

    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        kept = [(name, value) for name, value in headers if not name.lower().startswith("access-control-")]
        kept += _ALWAYS
        if path.startswith("/artifacts/"):
            kept = [(name, value) for name, value in kept if name.lower() != "content-security-policy"]
            kept.append(("Content-Security-Policy", "sandbox; default-src 'none'"))
            kind = next((value for name, value in kept if name.lower() == "content-type"), "")
            if kind.partition(";")[0].strip().lower() not in _SHOWN_TYPES:
                kept = [(name, value) for name, value in kept if name.lower() != "content-disposition"]
                kept.append(("Content-Disposition", "attachment"))
        return start_response(status, kept, *more)

    return start


def _rejected(start_response: StartResponse, status: str, reason: str) -> list[bytes]:
    content = json.dumps({"reason": reason}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content))), *_ALWAYS]
    start_response(status, headers)
    return [content]


class _Log(io.TextIOBase):
    """Takes what the server writes of its own errors: one line each, no traceback."""

    def write(self, text: str) -> int:
        """Log the last line."""
        lines = text.strip().splitlines()
        if lines:
            logger.warning("the dashboard could not answer: %s", lines[-1][:300])
        return len(text)

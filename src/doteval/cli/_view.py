"""``doteval view``: the page about results, served to this machine while evaluations go on.

The server is `http.server` of the standard library, a thread for each request. It serves no files and takes no
input but a few numbers and texts in addresses; each answer is a read of SQLite that blocks anyhow, for one reader on
the same machine; so an event loop and a framework would add a dependency, and nothing that is needed here. What it has
to get right by itself is who may ask: it listens on loopback only; the address has a random token; the header ``Host``
has to be a name of loopback, so no name that somebody makes resolve to this machine leads here; pages of other sites
may neither read an answer nor have it in a frame; and the address is in no command line, where other users would read
it.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import secrets
import socket
import sys
import tempfile
import webbrowser
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlsplit

from .._printed import say
from ..evals import Snapshot, Store, Stored, StoreError
from ._prices import prices_of
from ._problem import Problem
from ._results import chosen, opened
from ._signals import ended_by_signals

if TYPE_CHECKING:
    from ..evals._results.live import Live

_HOST = "127.0.0.1"
_OUR_NAMES = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
"""How this machine may be asked: by names in which no name server has a say. The port may be that of a tunnel."""
_PATIENCE = 60.0
"""For how long somebody may take to ask, or to read an answer, in seconds."""
_LARGEST = 2**63 - 1
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def run(options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C, SIGTERM or SIGHUP, which is how it ends well."""
    try:
        from ..evals._results.live import Live  # noqa: PLC0415 - what it needs is an extra
    except ModuleNotFoundError as exc:
        raise Problem("the page needs the package jinja2: pip install 'jinja2>=3.1'") from exc
    prices = prices_of(options)
    with opened(options) as results:
        if options.name is not None:
            chosen(results, options.name)  # or it says what is there
    live = Live(Store(options.store), _chooser(options.name), options.name or "All results", prices)
    try:
        server = _Server((_HOST, options.port), live)
    except (OSError, OverflowError) as exc:
        why = getattr(exc, "strerror", None) or exc
        raise Problem(f"port {options.port} cannot be listened on: {why}", 2) from exc
    with server, ExitStack() as stack:
        try:
            with ended_by_signals():
                say(f"{server.address}\n\nIt shows what is there and what is added, until Ctrl-C.")
                if options.open:
                    stack.enter_context(_opened(server.address))
                server.serve_forever(poll_interval=0.1)
        except (KeyboardInterrupt, SystemExit):
            say("", file=sys.stderr)
    return 0


@contextmanager
def _opened(address: str) -> Generator[None]:
    """Have the browser open a page, by a file of this user that leads there and is there as long as the block lasts.

    All users see what a program is called with, and the address is what lets one in.
    """
    with tempfile.TemporaryDirectory(prefix="doteval-") as directory:
        file = Path(directory) / "view.html"
        file.touch(mode=0o600)
        shown = html.escape(address)
        file.write_text(
            f'<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>doteval</title>'
            f'<meta http-equiv="refresh" content="0; url={shown}"><a href="{shown}">The page</a>\n',
            "utf-8",
        )
        webbrowser.open(file.as_uri())
        yield


def _chooser(name: str | None) -> Callable[[Snapshot], Sequence[Stored]]:
    def choose(results: Snapshot) -> Sequence[Stored]:
        if name is None:
            return results.evaluations()
        try:
            return chosen(results, name)
        except Problem:  # it was there, and is not now
            return []

    return choose


class _Server(ThreadingHTTPServer):
    """Listens on loopback.

    Args:
        place: The address to listen on, and the port; 0 for a free one.
        live: What it tells.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, place: tuple[str, int], live: Live) -> None:
        super().__init__(place, _Handler)
        self.live = live
        self.token = secrets.token_urlsafe(24)

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{_HOST}:{self.server_port}/{self.token}/"

    def server_bind(self) -> None:
        """Without asking anybody for the name of this machine, as `http.server` does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after another that has just ended
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = _HOST, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Somebody who has left is no error."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers the page."""

    timeout = _PATIENCE

    def version_string(self) -> str:
        return "doteval"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing: addresses have the token in them."""

    def do_GET(self) -> None:
        """Tell what is asked for, to who may ask."""
        server = cast("_Server", self.server)
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not _OUR_NAMES.fullmatch(hosts[0]):
            return self._refuse(HTTPStatus.FORBIDDEN, "this name does not lead here")
        try:
            address = urlsplit(self.path)
        except ValueError:
            return self._refuse(HTTPStatus.BAD_REQUEST, "this is no address")
        token, _, name = address.path.removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), server.token.encode()):
            return self._refuse(HTTPStatus.NOT_FOUND, "nothing is here")
        if address.path == f"/{token}":  # what the page asks for is named as seen from its own address
            return self._lead_to(f"/{token}/")
        if name and self.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return self._refuse(HTTPStatus.FORBIDDEN, "only the page may ask")
        return self._answer(server.live, name, {key: values[-1] for key, values in parse_qs(address.query).items()})

    def _answer(self, live: Live, name: str, words: dict[str, str]) -> None:
        try:
            match name:
                case "":
                    return self._send(HTTPStatus.OK, "text/html", live.page())
                case "overview":
                    return self._send(HTTPStatus.OK, "text/html", live.overview())
                case "state":
                    found: Any = live.state()
                case "rows":
                    found = live.rows(_number(words, "evaluation"), _number(words, "after"))
                case "row":
                    found = live.row(_number(words, "evaluation"), words["key"])
                case "search":
                    found = live.search(_number(words, "evaluation"), words["text"])
                case "compare":
                    found = live.compare(_number(words, "before"), _number(words, "after"))
                case _:
                    found = None
        except (KeyError, ValueError):
            return self._refuse(HTTPStatus.BAD_REQUEST, "this cannot be meant")
        except StoreError as exc:
            return self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(exc))
        if found is None:
            return self._refuse(HTTPStatus.NOT_FOUND, "nothing is here")
        return self._send(HTTPStatus.OK, "application/json", found if isinstance(found, str) else json.dumps(found))

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._send(status, "text/plain", f"{why}\n")

    def _lead_to(self, path: str) -> None:
        self.send_response(HTTPStatus.PERMANENT_REDIRECT)
        for header, value in (*_HEADERS.items(), ("Location", path), ("Content-Length", "0")):
            self.send_header(header, value)
        self.end_headers()

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode("utf-8", "backslashreplace")
        self.send_response(status)
        for header, value in _HEADERS.items():
            self.send_header(header, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _number(words: dict[str, str], name: str) -> int:
    found = int(words[name])
    if not 0 <= found <= _LARGEST:
        raise ValueError(name)
    return found

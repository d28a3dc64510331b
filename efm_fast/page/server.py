"""The server of the page: this machine alone, one secret address, a handful of fixed answers."""

from __future__ import annotations

import hmac
import json
import secrets
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..errors import EfmError, InputError
from .frame import pack, unpack
from .gallery import Gallery, run_scene
from .html import page
from .points import MOST_BYTES, read_points
from .report import report_of
from .scenes import MOST_CHARGES, MOST_LINES, PRESETS, lines_of, preset_scene

_HOST = "127.0.0.1"
_JSON, _HTML, _BYTES = "application/json", "text/html; charset=utf-8", "application/octet-stream"
#: Bytes of a request's body; a body up to so many times that is read and dropped, so that its sender hears the answer.
_MOST_BODY, _DRAINED = MOST_BYTES + 1000, 8
#: Seconds that the server waits for a computation when it is to end.
_REST = 30
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class Reply:
    """What a request is answered with."""

    content: bytes
    kind: str = _BYTES
    status: HTTPStatus = HTTPStatus.OK
    policy: str = "default-src 'none'; frame-ancestors 'none'"


@dataclass(frozen=True)
class Request:
    """What came: the address's question, and the body of a POST."""

    query: dict[str, str]
    body: bytes


class PageServer(ThreadingHTTPServer):
    """Serves the page to this machine, to whoever knows its address.

    Args:
        runs: folder of run folders.
        port: 0 for any that is free.

    Raises:
        InputError: the port cannot be had.
    """

    daemon_threads = True
    allow_reuse_address = sys.platform != "win32"  # where it would let two programs share a port

    def __init__(self, runs: Path, port: int = 0) -> None:
        self.gallery = Gallery(runs)
        self.token = secrets.token_urlsafe(18)
        self.engine = threading.Lock()  # one computation at a time has all cores
        self.routes: dict[tuple[str, str], Callable[[Request], Reply]] = {
            ("GET", ""): self._page,
            ("GET", "preset"): lambda request: Reply(preset_scene(_asked(request, "name"))),
            ("GET", "run"): self._run,
            ("GET", "report"): self._report,
            ("POST", "lines"): self._lines,
            ("POST", "points"): self._points,
        }
        try:
            super().__init__((_HOST, port), _Handler)
        except (OSError, OverflowError) as problem:
            reason = getattr(problem, "strerror", None) or problem
            raise InputError(f"port: cannot listen on {port}: {reason}; --port 0 takes a free one") from None

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{_HOST}:{self.server_port}/{self.token}/"

    def warm_up(self) -> None:
        """Trace a few lines, so that the first ones of the page do not wait for imports."""
        facts, arrays = unpack(preset_scene("gaussian_to_swissroll"))
        with self.engine:
            lines_of(pack({**facts, "lines": 10, "draft": True}, **arrays))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell a fault on the terminal; a browser that hangs up is none."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        """Let go of the port, and wait until the engine rests: threads of C++ must not outlive Python."""
        super().server_close()
        self.engine.acquire(timeout=_REST)

    def _page(self, request: Request) -> Reply:
        data = {
            "presets": [{"name": name, "title": preset.title} for name, preset in PRESETS.items()],
            "runs": self.gallery.rows(),
            "folder": str(self.gallery.folder),
            "limits": {"charges": MOST_CHARGES, "lines": MOST_LINES, "bytes": MOST_BYTES},
        }
        text, policy = page(data)
        return Reply(text.encode("utf-8"), _HTML, policy=f"{policy}; frame-ancestors 'none'")

    def _run(self, request: Request) -> Reply:
        folder = self.gallery.path(_asked(request, "name"))
        with self.engine:
            return Reply(run_scene(folder))

    def _report(self, request: Request) -> Reply:
        return _as_json(report_of(self.gallery.path(_asked(request, "name"))))

    def _lines(self, request: Request) -> Reply:
        with self.engine:
            return Reply(lines_of(request.body))

    def _points(self, request: Request) -> Reply:
        points, notes = read_points(_asked(request, "name"), request.body)
        return Reply(pack({"notes": notes}, **{plate or "points": rows for plate, rows in points.items()}))


def _asked(request: Request, name: str) -> str:
    if name not in request.query:
        raise InputError(f"{name}: expected it in the address, got none")
    return request.query[name]


def _as_json(value: Any, status: HTTPStatus = HTTPStatus.OK) -> Reply:
    return Reply(json.dumps(value).encode(), _JSON, status)


def _refusal(status: HTTPStatus, sentence: str) -> Reply:
    return _as_json({"error": sentence}, status)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or the second part of an answer waits 40 ms for the first one's receipt
    timeout = 60
    server_version, sys_version = "efm-fast", ""

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer("GET")

    def do_POST(self) -> None:
        """Answer a POST."""
        self._answer("POST")

    def _answer(self, method: str) -> None:
        body = self._body()
        reply = body if isinstance(body, Reply) else self._reply(method, body)
        self._send(reply)

    def _body(self) -> bytes | Reply:
        """The body, or why it is not read."""
        if self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            return _refusal(HTTPStatus.LENGTH_REQUIRED, "expected a body of a length that is told first")
        told = self.headers.get("Content-Length", "0")
        if not (told.isascii() and told.isdigit()):
            self.close_connection = True
            return _refusal(HTTPStatus.BAD_REQUEST, "expected a whole number of bytes in Content-Length")
        length = int(told)
        if length <= _MOST_BODY:
            return self.rfile.read(length)
        self.close_connection = True
        left = min(length, _DRAINED * _MOST_BODY)
        while left > 0 and (part := self.rfile.read(min(left, 1 << 20))):
            left -= len(part)
        sentence = f"expected at most {MOST_BYTES:,} bytes, got {length:,}"
        return _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence)

    def _reply(self, method: str, body: bytes) -> Reply:
        address = urlsplit(self.path)
        _, _, rest = address.path.partition("/")
        token, slash, name = rest.partition("/")
        if not self._is_ours():
            return _refusal(HTTPStatus.FORBIDDEN, "this server answers its own page alone")
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()) or not slash:
            return _refusal(HTTPStatus.NOT_FOUND, "the address lacks the secret that `efm-fast show` printed")
        route = self.server.routes.get((method, name))
        if route is None:
            return _refusal(HTTPStatus.NOT_FOUND, "there is nothing at this address")
        query = {key: values[-1] for key, values in parse_qs(address.query).items()}
        try:
            return route(Request(query, body))
        except EfmError as problem:
            return _refusal(HTTPStatus.BAD_REQUEST, str(problem))
        except Exception:
            traceback.print_exc()
            return _refusal(
                HTTPStatus.INTERNAL_SERVER_ERROR, "an error of efm_fast; its terminal shows which"
            )

    def _is_ours(self) -> bool:
        """Whether the request names this server, and comes from its own page or from no page.

        A foreign page that points a name of its own at this machine sends that name.
        """
        hosts = {f"{name}:{self.server.server_port}" for name in (_HOST, "localhost")}
        origin = self.headers.get("Origin")
        return self.headers.get("Host") in hosts and (
            origin is None or origin in {f"http://{host}" for host in hosts}
        )

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        headers = {
            **_HEADERS,
            "Content-Security-Policy": reply.policy,
            "Content-Type": reply.kind,
            "Content-Length": str(len(reply.content)),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        try:
            self.wfile.write(reply.content)
        except (BrokenPipeError, ConnectionResetError):  # the page was closed
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal is for errors, and lines hold the secret."""

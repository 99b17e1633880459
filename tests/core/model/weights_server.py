"""A server of weights on 127.0.0.1 that does what servers and proxies do to people."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = bytes(range(256)) * 12_000
LOGIN = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Hello</body></html>"


@dataclass
class Server:
    """What the server does, and what it was asked.

    `pages` are served at their paths, as they are; every other path gives `content`.
    """

    url: str = ""
    content: bytes = CONTENT
    content_type: str = "application/octet-stream"
    status: int = 200
    etag: str | None = None
    redirect: str | None = None
    supports_range: bool = True
    states_length: bool = True
    send_at_most: int | None = None
    pages: dict[str, bytes] = field(default_factory=dict)
    asked: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@contextmanager
def serve_weights() -> Iterator[Server]:
    """Serve until the block ends."""
    behaviour = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            behaviour.asked.append(asked)
            behaviour.paths.append(self.path)
            if self.path in behaviour.pages:
                self._send(200, behaviour.pages[self.path], "text/html; charset=utf-8", {})
            elif behaviour.redirect:
                self.send_response(302)
                self.send_header("Location", behaviour.redirect)
                self.end_headers()
            elif behaviour.status != 200:
                self.send_error(behaviour.status)
            else:
                self._send_content(asked)

        def _send_content(self, asked: str | None) -> None:
            body, start = behaviour.content, 0
            headers = {"ETag": behaviour.etag} if behaviour.etag else {}
            same = self.headers.get("If-Range") in (None, behaviour.etag)
            if not (asked and behaviour.supports_range and same):
                self._send(200, body, behaviour.content_type, headers)
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
            if start >= len(body):
                self.send_error(416)
                return
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self._send(206, body[start:], behaviour.content_type, headers)

        def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str]) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if behaviour.states_length:
                self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: behaviour.send_at_most])

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        behaviour.url = f"http://127.0.0.1:{http.server_port}/weights.pth"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield behaviour
        finally:
            http.shutdown()
            thread.join()

"""A scripted server that takes writes too: it keeps what it is told on all its servers, and refuses or breaks off as a test says.

It speaks the contract of docs/http.md and knows nothing of the client.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from accord.model.verdict import Kind
from tests.client.scripted import DELETED, MODIFIED, Handler, Script, digest_of, verdict_json


@dataclass
class Refusal:
    """What the next write is answered with in place of doing it. `after_body`: only once the whole body was taken in."""

    status: int
    kind: str
    extra: dict[str, Any] = field(default_factory=dict)
    after_body: bool = False


@dataclass
class CutOff:
    """The next write's connection ends: after the body was taken in and done (`is_done`), or after so many bytes of it."""

    is_done: bool = True
    after_bytes: int | None = None


@dataclass
class Hold:
    """The next write is taken in and waits for the script's `go_on`; then its connection ends, and nothing was done."""


@dataclass
class Received:
    """One write as it came in."""

    method: str
    target: str
    fields: dict[str, str]
    body: bytes | None


@dataclass
class Writable(Script):
    """`late`: servers that get every write later, and why. `is_mute`: no leave is given to send a body."""

    late: dict[str, str] = field(default_factory=dict)
    next: list[Refusal | CutOff | Hold | None] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    is_mute: bool = False
    history_silent: tuple[str, ...] = ()
    kept: list[bytes] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def handler(self) -> type[Handler]:
        return WritingHandler

    def bytes_of(self, path: str, digest: str) -> bytes | None:
        """Of current versions, and of former ones that are `kept`."""
        found = (one for one in self.kept if digest_of(one).hex().startswith(digest.removeprefix("blake3:")))
        return super().bytes_of(path, digest) or next(found, None)

    def happened(self, path: str, content: bytes | None, deed: str = "put", **more: Any) -> None:
        """A line of the history, below those that come later."""
        digest = None if content is None else str(digest_of(content))
        event = {
            "digest": digest,
            "size": len(content or b""),
            "modified": MODIFIED,
            "author": "anna",
            "at": f"2026-01-01T00:00:{len(self.events.get(path, [])):02d}Z",
            "deed": deed,
            "message": "",
            "source": "",
            "supersedes": [],
            "current": False,
            "servers": list(self.names) if digest else [],
            "href": f"/files/{path}?version={digest}" if digest else None,
        }
        self.events.setdefault(path, []).insert(0, event | more)


class WritingHandler(Handler):
    script: Writable

    def handle_expect_100(self) -> bool:
        """The leave is given once nothing is refused."""
        return True

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if not path.startswith("/history/"):
            super().do_GET()
            return
        path = path.removeprefix("/history/")
        events = self.script.events.get(path)
        if events is None:
            self._refuse(404, "not-found", {})
            return
        states = {
            name: "unreachable" if name in self.script.history_silent else "answered" for name in self.script.names
        }
        servers = [{"name": name, "state": state} for name, state in states.items()]
        self._json(200, {"path": path, "events": events, "servers": servers})

    def do_DELETE(self) -> None:
        self._write()

    def do_PUT(self) -> None:
        self._write()

    def _write(self) -> None:
        planned = self.script.next.pop(0) if self.script.next else None
        path = unquote(urlsplit(self.path).path.removeprefix("/files/"))
        if isinstance(planned, Refusal) and not planned.after_body:
            self._note(None)
            self.close_connection = True
            self._refuse(planned.status, planned.kind, planned.extra)
            return
        refused = self._forbidden(path)
        if refused is not None:
            self._note(None)
            self.close_connection = True
            self._refuse(*refused)
            return
        if self.headers.get("Expect") == "100-continue" and not self.script.is_mute:
            self.send_response_only(100)
            self.end_headers()
        if isinstance(planned, CutOff) and planned.after_bytes is not None:
            self.rfile.read(planned.after_bytes)
            self.close_connection = True
            return
        body = self._body()
        if body is None:
            self.close_connection = True
            return
        self._note(body)
        if isinstance(planned, Refusal):
            self._refuse(planned.status, planned.kind, planned.extra)
            return
        if isinstance(planned, Hold):
            self.script.waiting.set()
            self.script.go_on.wait(30)
            self.close_connection = True
            return
        if isinstance(planned, CutOff):
            self.close_connection = True
            if not planned.is_done:
                return
        with self.script.lock:
            answer = self._done(path, body)
        if planned is None:
            self._json(201 if answer["is_new"] else 200, answer)

    def _done(self, path: str, body: bytes) -> dict[str, Any]:
        script = self.script
        before = script.verdict(path)
        content: bytes | None = body
        source = self.headers.get("Accord-Source")
        deed = "put"
        if self.command == "DELETE":
            content, deed = None, "delete"
        elif source is not None:
            parts = urlsplit(source)
            origin = unquote(parts.path.removeprefix("/files/"))
            named = parse_qs(parts.query).get("version")
            version = named[0] if named else str(script.verdict(origin).versions[0].version.digest)
            content, deed = script.bytes_of(origin, version), "copy"
            if self.headers.get("Accord-Move"):
                script.put(origin, **dict.fromkeys(script.names, DELETED))
        missing = [{"name": name, "reason": reason} for name, reason in script.late.items()]
        stored = [name for name in script.names if name not in script.late]
        digests = [None if held.version.digest is None else str(held.version.digest) for held in before.versions]
        script.put(path, **dict.fromkeys(stored, DELETED if content is None else content))
        if before.kind is Kind.DIVERGED:
            deed = "resolve"
        message = unquote(self.headers.get("Accord-Message", ""))
        script.happened(path, content, deed, supersedes=digests, message=message, current=True)
        return {
            "path": path,
            "digest": None if content is None else str(digest_of(content)),
            "size": len(content or b""),
            "modified": MODIFIED,
            "author": unquote(self.headers.get("Accord-Author", "server1")),
            "is_new": before.kind is Kind.MISSING,
            "stored": stored,
            "missing": missing,
            "result": verdict_json(script.verdict(path)),
        }

    def _forbidden(self, path: str) -> tuple[int, str, dict[str, Any]] | None:
        verdict = self.script.verdict(path)
        digests = {f'"{held.version.digest}"' for held in verdict.versions}
        if self.headers.get("If-None-Match") == "*" and digests:
            return 412, "precondition-failed", {}
        if "If-Match" in self.headers and not digests & set(self.headers["If-Match"].split(", ")):
            return 412, "precondition-failed", {}
        if verdict.kind is Kind.DIVERGED and "Accord-Context" not in self.headers:
            return 409, "rival-versions", {"versions": verdict_json(verdict)["versions"]}
        if self.command == "DELETE" and verdict.kind is Kind.MISSING:
            return 404, "not-found", {}
        return None

    def _body(self) -> bytes | None:
        """None when the writer went away before the end: then nothing is stored."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            size = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(size)
            return body if len(body) == size else None
        pieces = []
        while size := int(self.rfile.readline() or b"-1", 16):
            if size < 0:
                return None
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _note(self, body: bytes | None) -> None:
        self.script.received.append(Received(self.command, self.path, dict(self.headers.items()), body))

    def _refuse(self, status: int, kind: str, extra: dict[str, Any]) -> None:
        body = {"type": f"/problems/{kind}", "title": kind, "status": status, "detail": f"It is {kind}.", **extra}
        self._json(status, body, "application/problem+json")

    def _json(self, status: int, body: dict[str, Any], kind: str = "application/json") -> None:
        headers = {"Content-Type": kind} | ({"Connection": "close"} if self.close_connection else {})
        self._send(status, headers, json.dumps(body).encode())

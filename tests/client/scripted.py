"""A small server of our own that speaks the contract of docs/http.md from a script: what the copies are, and what goes wrong.

It decides with the real `model.verdict`; everything else is written out here, so that the client is tested against the contract and not
against itself.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from blake3 import blake3

from accord.model.names import Digest, FilePath, ServerName
from accord.model.verdict import Absent, Answer, Damaged, Deleted, Kind, Present, Unreachable, Verdict, compare
from accord.model.versions import Actor, Clock, Version, found, write

MODIFIED_NS = 1_700_000_000_000_000_000
MODIFIED = "2023-11-14T22:13:20.123456Z"
LAST_MODIFIED = "Tue, 14 Nov 2023 22:13:20 GMT"

Copy = bytes | Answer | None


def digest_of(content: bytes) -> Digest:
    return Digest(blake3(content).digest())


def present(content: bytes) -> Present:
    digest = digest_of(content)
    clock = found(Version(digest, len(content), MODIFIED_NS, "server1"))
    return Present(digest, len(content), MODIFIED_NS, clock)


def answer_of(copy: Copy) -> Answer:
    match copy:
        case None:
            return Absent()
        case bytes():
            return present(copy)
        case _:
            return copy


DELETED = Deleted(write(Clock(), {}, Actor("server2/1"), Version(None, 0, MODIFIED_NS, "server2")))
SILENT = Unreachable("no answer in time")
ROTTEN = Damaged("its bytes do not match")


@dataclass
class Fault:
    """What goes wrong with one answer's body: it is cut after so many bytes, or one byte is another, or it waits half-way."""

    cut_after: int | None = None
    flip_at: int | None = None
    wait_at: int | None = None


@dataclass
class Script:
    """The copies, and what is to go wrong with the next answers (one fault an answer, in order)."""

    names: tuple[str, ...] = ("server1", "server2")
    copies: dict[str, dict[str, Copy]] = field(default_factory=dict)
    faults: list[Fault | None] = field(default_factory=list)
    instead: list[tuple[int, str, bytes]] = field(default_factory=list)
    cut_listing: bool = False
    listing_silent: tuple[str, ...] = ()
    executable: bool = False
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)
    waiting: threading.Event = field(default_factory=threading.Event)

    @property
    def handler(self) -> type[Handler]:
        return Handler

    def put(self, path: str, **copies: Copy) -> None:
        self.copies[path] = {name: copies.get(name) for name in self.names}

    def verdict(self, path: str) -> Verdict:
        held = self.copies.get(path, dict.fromkeys(self.names))
        return compare(FilePath(path), {ServerName(name): answer_of(copy) for name, copy in held.items()})

    def bytes_of(self, path: str, digest: str) -> bytes | None:
        for copy in self.copies.get(path, {}).values():
            if isinstance(copy, bytes) and digest_of(copy).hex().startswith(digest.removeprefix("blake3:")):
                return copy
        return None


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "path": verdict.path,
        "verdict": verdict.kind.value,
        "versions": [
            {
                "digest": None if held.version.digest is None else str(held.version.digest),
                "size": held.version.size,
                "modified": "2023-11-14T22:13:20.000000Z",
                "author": held.version.author,
                "servers": list(held.servers),
                "href": f"/files/{verdict.path}?version={held.version.digest}",
            }
            for held in verdict.versions
        ],
        "servers": servers_json(verdict),
        "context": "token",
    }


def servers_json(verdict: Verdict) -> list[dict[str, str]]:
    members = []
    for one in verdict.servers:
        member = {"name": str(one.name), "state": one.state.value}
        member |= {} if one.digest is None else {"digest": str(one.digest)}
        member |= {} if one.reason is None else {"reason": one.reason}
        members.append(member)
    return members


def replicas(verdict: Verdict) -> str:
    members = []
    for one in verdict.servers:
        digest = f';digest="{one.digest}"' if one.digest else ""
        reason = f';reason="{one.reason}"' if one.reason else ""
        members.append(f'"{one.name}";state={one.state.value}{digest}{reason}')
    return ", ".join(members)


_PROBLEMS = {
    Kind.MISSING: (404, "not-found", "File Not Found"),
    Kind.DELETED: (410, "deleted", "File Deleted"),
    Kind.UNKNOWN: (503, "unknown", "Not Known Whether the File Exists"),
    Kind.DAMAGED: (500, "damaged", "Every Copy Is Damaged"),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Script

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.script.seen.append((self.command, self.path, dict(self.headers.items())))
        parts = urlsplit(self.path)
        if self.script.instead:
            status, kind, body = self.script.instead.pop(0)
            if status == 0:
                self.close_connection = True
                return
            self._send(status, {"Content-Type": kind}, body)
        elif parts.path == "/ready":
            server, *peers = self.script.names
            told = {"server": server, "cluster": "test", "peers": [{"name": name} for name in peers]}
            self._send(200, {"Content-Type": "application/json"}, json.dumps(told).encode())
        elif parts.path.startswith("/list/"):
            self._list(unquote(parts.path[6:]), folded=parts.query == "depth=1")
        else:
            self._file(unquote(parts.path.removeprefix("/files/")), parse_qs(parts.query))

    def _file(self, path: str, query: dict[str, list[str]]) -> None:
        verdict = self.script.verdict(path)
        headers = {
            "Accord-Verdict": verdict.kind.value,
            "Accord-Replicas": replicas(verdict),
            "Accord-Context": "token",
        }
        if "version" in query:
            content = self.script.bytes_of(path, query["version"][0])
            if content is None:
                self._problem(404, "no-such-version", "No Such Version", verdict, headers)
                return
        elif verdict.kind is Kind.DIVERGED:
            self._send(300, headers | {"Content-Type": "application/json"}, json.dumps(verdict_json(verdict)).encode())
            return
        elif verdict.kind in _PROBLEMS:
            self._problem(*_PROBLEMS[verdict.kind], verdict, headers)
            return
        else:
            content = self.script.bytes_of(path, str(verdict.version.version.digest)) or b""
        self._content(content, headers)

    def _content(self, content: bytes, headers: dict[str, str]) -> None:
        tag = f'"{digest_of(content)}"'
        headers["Accord-Version"] = f'{tag};size={len(content)};modified="{MODIFIED}";author="server1"'
        headers["Accord-Version"] += ";executable" * self.script.executable
        headers |= {"ETag": tag, "Last-Modified": LAST_MODIFIED, "Content-Type": "text/plain", "Accept-Ranges": "bytes"}
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match and self.headers.get("If-Range", tag) == tag:
            start = int(match[1])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._send(206, headers, content[start:], faulty=True)
        else:
            self._send(200, headers, content, faulty=True)

    def _problem(self, status: int, kind: str, title: str, verdict: Verdict, headers: dict[str, str]) -> None:
        body = {
            "type": f"/problems/{kind}",
            "title": title,
            "status": status,
            "detail": f"{title}: {verdict.path}",
            "path": verdict.path,
            "servers": servers_json(verdict),
        }
        self._send(status, headers | {"Content-Type": "application/problem+json"}, json.dumps(body).encode())

    def _list(self, prefix: str, *, folded: bool) -> None:
        lines = [
            json.dumps(verdict_json(self.script.verdict(path)))
            for path in sorted(self.script.copies, key=str.encode)
            if path.startswith(prefix)
        ]
        if folded:
            lines = self._folded(prefix)
        states = {
            name: "unreachable" if name in self.script.listing_silent else "current" for name in self.script.names
        }
        end = {"end": True, "entries": len(lines), "servers": [{"name": n, "state": s} for n, s in states.items()]}
        if self.script.cut_listing:
            body = "".join(line + "\n" for line in lines[:-1])
        else:
            body = "".join(line + "\n" for line in [*lines, json.dumps(end)])
        self._send(200, {"Content-Type": "application/x-ndjson"}, body.encode())

    def _folded(self, prefix: str) -> list[str]:
        told: dict[str, Any] = {}
        for path in sorted(self.script.copies, key=str.encode):
            if not path.startswith(prefix):
                continue
            verdict = self.script.verdict(path)
            name, slash, _ = path[len(prefix) :].partition("/")
            folder = prefix + name + slash
            if not slash:
                told[path] = verdict_json(verdict)
                continue
            entry = told.setdefault(folder, {"folder": folder, "files": 0, "verdicts": {}})
            entry["files"] += 1
            entry["verdicts"][verdict.kind.value] = entry["verdicts"].get(verdict.kind.value, 0) + 1
        return [json.dumps(entry) for entry in told.values()]

    def _send(self, status: int, headers: dict[str, str], body: bytes, *, faulty: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        fault = self.script.faults.pop(0) if faulty and self.script.faults else None
        if fault is None:
            self.wfile.write(body)
            return
        self._send_badly(body, fault)

    def _send_badly(self, body: bytes, fault: Fault) -> None:
        if fault.flip_at is not None:
            at = fault.flip_at
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        if fault.wait_at is not None:
            self.wfile.write(body[: fault.wait_at])
            self.wfile.flush()
            self.script.waiting.set()
            self.script.go_on.wait(30)
            body = body[fault.wait_at :]
        if fault.cut_after is not None:
            self.wfile.write(body[: fault.cut_after])
            self.close_connection = True
            return
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is part of the tests."""


@contextmanager
def serving(script: Script) -> Iterator[str]:
    """A server on a free port of loopback; its address."""
    handler = type("Handler", (script.handler,), {"script": script})
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            script.go_on.set()
            server.shutdown()
            thread.join()


Serve = Callable[..., tuple[Script, str]]

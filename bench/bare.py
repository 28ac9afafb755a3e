"""What storing a large file takes at the least: programs that do nothing but take it in, hash it, write it out and pass it on.

`python -m bench.bare FILE [--next PORT]` takes one upload after the other on a free port, which it prints; it ends with its input. No
names, no versions, no checks, no answer but one: what a server takes beyond this is the price of being one.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from mmap import mmap
from pathlib import Path
from typing import Any

from blake3 import blake3

BLOCK_BYTES = 1024 * 1024
BLOCKS = 4
_HEAD_END = b"\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@contextmanager
def bare_servers(files: Sequence[Path]) -> Iterator[str]:
    """One for each file, each passing everything on to the one behind it; the address of the first."""
    started: list[subprocess.Popen[str]] = []
    following: list[str] = []
    try:
        for file in reversed(files):
            command = [sys.executable, "-m", "bench.bare", str(file), *following]
            one = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            started.append(one)
            assert one.stdout is not None
            port = one.stdout.readline().strip()
            following = ["--next", port]
        yield f"http://127.0.0.1:{port}/"
    finally:
        for one in started:
            one.communicate()


class _Server:
    def __init__(self, file: Path, following: int | None) -> None:
        self._file = file
        self._following = following
        self._blocks = [memoryview(mmap(-1, BLOCK_BYTES)) for _ in range(BLOCKS)]
        self._hashing, self._writing, self._sending = (ThreadPoolExecutor(1) for _ in range(3))

    def take(self, client: socket.socket) -> None:
        """One upload: durable here and everywhere behind this when it is answered."""
        head, body = _head_of(client)
        behind = None if self._following is None else socket.create_connection(("127.0.0.1", self._following))
        if behind is not None:
            behind.sendall(head)
        fd, hasher = _opened(self._file), blake3()
        under_way: deque[list[Future[Any]]] = deque()
        at, length = 0, _length(head)
        while at < length:
            if len(under_way) == BLOCKS:
                _all_done(under_way.popleft())
            block = self._blocks[at // BLOCK_BYTES % BLOCKS][: length - at]
            block[: len(body)] = body
            _fill(client, block[len(body) :])
            body = b""
            work = [self._hashing.submit(hasher.update, block), self._writing.submit(os.pwrite, fd, block, at)]
            if behind is not None:
                work.append(self._sending.submit(behind.sendall, block))
            under_way.append(work)
            at += len(block)
        for work in under_way:
            _all_done(work)
        os.fsync(fd)
        os.close(fd)
        if behind is not None:
            while not behind.recv(1024).endswith(_CREATED[-20:]):
                ...
            behind.close()
        client.sendall(_CREATED)


def _head_of(client: socket.socket) -> tuple[bytes, bytes]:
    received = b""
    while _HEAD_END not in received:
        received += client.recv(64 * 1024)
    head, _, body = received.partition(_HEAD_END)
    if not body:
        client.sendall(_CONTINUE)
    return head + _HEAD_END, body


def _length(head: bytes) -> int:
    fields = (line.partition(b":") for line in head.split(b"\r\n"))
    return next(int(value) for name, _, value in fields if name.lower() == b"content-length")


def _opened(file: Path) -> int:
    """Past the page cache, where that can be had."""
    flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY
    try:
        return os.open(file, flags | os.O_DIRECT, 0o600)
    except OSError:
        return os.open(file, flags, 0o600)


def _fill(client: socket.socket, block: memoryview) -> None:
    while block:
        count = client.recv_into(block)
        if not count:
            raise ConnectionError("The upload ended early.")
        block = block[count:]


def _all_done(work: Sequence[Future[Any]]) -> None:
    wait(work)
    for one in work:
        one.result()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.bare", description="Take in files, and do nothing else.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--next", type=int, dest="following")
    chosen = parser.parse_args()
    server = _Server(chosen.file, chosen.following)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            client, _ = listening.accept()
            with client:
                server.take(client)


if __name__ == "__main__":
    main()

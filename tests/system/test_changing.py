"""Files that are rewritten while they are read: the old content, the new, or a visible break; never a mixture."""

from __future__ import annotations

import http.client
import os
import threading
from collections.abc import Callable

import pytest

from tests.system.harness import Cluster, wait_until

MIB = 1024 * 1024


@pytest.mark.parametrize("size", [10_000, 3 * MIB, 24 * MIB], ids=["small", "blocks", "large"])
def test_rewriting_in_place_never_gives_a_mixture(new_cluster: Callable[..., Cluster], size: int) -> None:
    alone = new_cluster(1)
    alone.start()
    contents = [bytes([letter]) * size for letter in b"ABCD"]
    path = alone[0].put("f.bin", contents[0])
    done = threading.Event()

    def rewrite() -> None:
        turn = 0
        with path.open("r+b", buffering=0) as target:
            while not done.is_set():
                turn += 1
                content = contents[turn % len(contents)]
                for offset in range(0, size, 256 * 1024):
                    os.pwrite(target.fileno(), content[offset : offset + 256 * 1024], offset)
                if turn % 3 == 0:
                    done.wait(0.05)  # a pause that a reader can get in: the pace of the writer, not a wait for anything

    writer = threading.Thread(target=rewrite)
    writer.start()
    whole = broken = 0
    try:
        for _ in range(60):
            try:
                answer = alone[0].get("f.bin", timeout_s=40)
            except (http.client.HTTPException, ConnectionError):
                broken += 1
                continue
            if answer.status == 200:
                assert answer.body in contents
                whole += 1
            else:
                assert answer.status == 503, answer
    finally:
        done.set()
        writer.join()
    wait_until(lambda: alone[0].get("f.bin").status == 200, "the settled file is delivered")
    assert alone[0].get("f.bin").body == path.read_bytes()


def test_a_file_that_is_truncated_while_it_is_sent_is_broken_off(new_cluster: Callable[..., Cluster]) -> None:
    alone = new_cluster(1)
    alone.start()
    path = alone[0].put("f.bin", os.urandom(32 * MIB))
    wait_until(lambda: alone[0].get("f.bin", method="HEAD").status == 200, "it is hashed")
    connection = http.client.HTTPConnection("127.0.0.1", alone[0].port, timeout=20)
    connection.request("GET", "/files/f.bin")
    answer = connection.getresponse()
    answer.read(1000)
    os.truncate(path, 100)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
    connection.close()


def test_a_file_replaced_by_rename_while_it_is_sent_is_sent_as_it_was(new_cluster: Callable[..., Cluster]) -> None:
    alone = new_cluster(1)
    alone.start()
    content = os.urandom(32 * MIB)
    path = alone[0].put("f.bin", content)
    wait_until(lambda: alone[0].get("f.bin", method="HEAD").status == 200, "it is hashed")
    connection = http.client.HTTPConnection("127.0.0.1", alone[0].port, timeout=20)
    connection.request("GET", "/files/f.bin")
    answer = connection.getresponse()
    start = answer.read(1000)
    replacement = alone[0].put("new.bin", os.urandom(1000))
    replacement.rename(path)
    assert start + answer.read() == content
    connection.close()

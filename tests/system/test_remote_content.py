"""Large files that only other servers have, one of them with a rotten copy, one that is being stopped."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Callable
from pathlib import Path

from tests.system.harness import Cluster, Response, Server, request, wait_until

MIB = 1024 * 1024


def rot(path: Path) -> None:
    """Another bit, under the same size and modified time."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def known_everywhere(server: Server, path: str, holders: int) -> bool:
    return server.get(path, method="HEAD").headers.get("accord-replicas", "").count("state=current") == holders


def ranged(server: Server, path: str, start: int, stop: int) -> Response:
    return request(server.port, f"/files/{path}", headers={"Range": f"bytes={start}-{stop - 1}"})


def test_ranges_of_a_remote_file_are_right_and_the_first_one_heals(pair: Cluster) -> None:
    content = os.urandom(5 * MIB + 17)
    pair[1].put("big.bin", content)
    wait_until(lambda: known_everywhere(pair[0], "big.bin", 1), "server2 has hashed it")
    for start, stop in ((0, 1), (MIB - 3, 2 * MIB + 3), (len(content) - 5, len(content))):
        answer = ranged(pair[0], "big.bin", start, stop)
        assert (answer.status, answer.body) == (206, content[start:stop])
    wait_until((pair[0].root / "big.bin").exists, "the primary has it too")
    assert (pair[0].root / "big.bin").read_bytes() == content
    assert ranged(pair[0], "big.bin", 7, 9).body == content[7:9]


def test_a_server_that_stops_lets_a_transfer_to_its_peer_end(new_cluster: Callable[..., Cluster]) -> None:
    pair = new_cluster(2)
    pair.start()
    content = os.urandom(48 * MIB)
    pair[1].put("big.bin", content)
    wait_until(lambda: known_everywhere(pair[0], "big.bin", 1), "server2 has hashed it")
    connection = http.client.HTTPConnection("127.0.0.1", pair[0].port, timeout=20)
    connection.request("GET", "/files/big.bin")
    answer = connection.getresponse()
    received = [answer.read(MIB)]
    assert pair[1].process is not None
    began = time.monotonic()
    pair[1].process.terminate()
    while chunk := answer.read(MIB):
        received.append(chunk)
    connection.close()
    assert b"".join(received) == content
    assert pair[1].process.wait(20) == 0
    assert time.monotonic() - began < 15

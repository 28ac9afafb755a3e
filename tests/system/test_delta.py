"""Long files that were changed a little move between real servers by difference."""

from __future__ import annotations

import random

from tests.system.harness import Cluster, Server, digest_of, request, wait_until

MIB = 1024 * 1024
OLD = random.Random(1).randbytes(24 * MIB)
INSERTED = random.Random(2).randbytes(500_000)
AT = 11 * MIB + 123
LONGEST_CHUNK_BYTES = MIB
PATH = "disk.img"


def counted(server: Server, name: str) -> int:
    """A counter of the server's since its start."""
    for line in request(server.port, "/metrics").body.decode().splitlines():
        if line.startswith(f"accord_{name}_total "):
            return int(float(line.split()[1]))
    raise AssertionError(f"{server.name} counts no {name}")


def test_a_server_that_was_away_fetches_what_was_inserted(pair: Cluster) -> None:
    first, second = pair[0], pair[1]
    assert first.write(PATH, OLD).status == 201
    second.kill()
    new = OLD[:AT] + INSERTED + OLD[AT:]
    assert first.write(PATH, new).status == 200
    second.start()
    wait_until(lambda: second.content(PATH) == new, "server2 has the new version")
    fetched, reused = counted(second, "fetched_bytes"), counted(second, "reused_bytes")
    assert len(INSERTED) <= fetched <= len(INSERTED) + 3 * LONGEST_CHUNK_BYTES
    assert fetched + reused == len(new)
    assert second.get(PATH).body == new


def test_rivals_made_by_an_edit_reach_each_other_at_the_cost_of_the_edit(pair: Cluster) -> None:
    first, second = pair[0], pair[1]
    assert first.write(PATH, OLD).status == 201
    edited = OLD[:AT] + bytes([OLD[AT] ^ 1]) + OLD[AT + 1 :]
    first.put(PATH, edited)
    assert first.get(PATH, timeout_s=60).status == 300
    wait_until(lambda: edited in second.kept(), "server2 keeps the rival")
    wait_until(lambda: OLD in first.kept(), "server1 keeps the rival")
    assert 0 < counted(second, "fetched_bytes") <= LONGEST_CHUNK_BYTES
    assert counted(second, "reused_bytes") >= len(edited) - LONGEST_CHUNK_BYTES
    first.stop()
    assert second.get(f"{PATH}?version={digest_of(edited)}").body == edited

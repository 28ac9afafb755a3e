"""Writing where the disk is full, read-only or new, where the clock is wrong, and where old versions have to go."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.system.harness import (
    Cluster,
    Response,
    Server,
    connected,
    digest_of,
    read_response,
    request_bytes,
    wait_until,
)

OLD = b"what was there"
MIB = 1024 * 1024
PATIENCE = "10s"
FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)

Mount = Callable[..., None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mounts something at a folder until the servers have ended; so it is to be asked for before them."""
    mounted: list[Path] = []

    def mounting(folder: Path, *what: str) -> None:
        subprocess.run(["mount", *what, str(folder)], check=True)
        mounted.append(folder)

    yield mounting
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def pair(new_cluster: Callable[..., Cluster]) -> Cluster:
    """Two servers that give each other all the time that a busy machine takes."""
    cluster = new_cluster(2, peer_timeout=PATIENCE)
    cluster.start()
    return cluster


@pytest.mark.needs_root
def test_a_full_disk_refuses_clearly_and_recovers(mount: Mount, new_cluster: Callable[..., Cluster]) -> None:
    pair = new_cluster(2, peer_timeout=PATIENCE)
    mount(pair[0].root, "-t", "tmpfs", "-o", "size=24m", "none")
    pair.start()
    for path in ("f.bin", "small.txt"):
        assert pair[0].write(path, OLD).status == 201
    large = os.urandom(30 * MIB)
    with pair[0].writing("f.bin", len(large), {"Expect": "100-continue"}) as connection:
        answer = read_response(connection, "PUT")
    assert (answer.status, answer.json()["type"]) == (507, "/problems/disk-full")
    answer = chunked(pair[0], "f.bin", large)
    assert (answer.status, answer.json()["type"]) == (507, "/problems/disk-full")
    pair.clears_up()
    for server in pair.servers:
        assert (server.get("f.bin").body, server.content("f.bin")) == (OLD, OLD)
    ballast = pair[0].root / ".accord" / "ballast"
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(bytes(40 * MIB))
    wait_until(lambda: pair[0].ready()["degraded"] == "its disk is full", "/ready says so")
    for path in ("f.bin", "new/f.bin"):
        assert pair[0].write(path, large[:MIB]).status == 507
    assert pair[0].get("new/f.bin").status == 404
    removed = pair[0].remove("small.txt").status
    assert removed in (200, 507)
    for server in pair.servers:
        assert (server.get("f.bin").body, server.content("f.bin")) == (OLD, OLD)
        assert server.get("small.txt").status == (410 if removed == 200 else 200), "all of a deletion or nothing"
    pair.settles()
    ballast.unlink()
    wait_until(lambda: pair[0].ready()["ready"], "/ready says that there is room again")
    assert pair[0].write("f.bin", large[:MIB]).json()["stored"] == ["server1", "server2"]
    assert pair[0].remove("f.bin").json()["stored"] == ["server1", "server2"]
    pair.clears_up()


@pytest.mark.needs_root
def test_a_full_replica_is_named_and_gets_it_when_it_has_room(
    mount: Mount, new_cluster: Callable[..., Cluster]
) -> None:
    pair = new_cluster(2, peer_timeout=PATIENCE)
    mount(pair[1].root, "-t", "tmpfs", "-o", "size=24m", "none")
    pair.start()
    ballast = pair[1].root / ".accord" / "ballast"
    assert pair[0].write("f.bin", OLD).json()["stored"] == ["server1", "server2"]
    ballast.write_bytes(bytes(14 * MIB))
    content = os.urandom(12 * MIB)
    answer = pair[0].write("f.bin", content)
    assert (answer.status, answer.json()["stored"]) == (200, ["server1"])
    (missing,) = answer.json()["missing"]
    assert missing["name"] == "server2"
    assert "space" in missing["reason"]
    assert pair[0].owed() == {"server2": 1}
    assert pair[1].content("f.bin") == OLD
    assert pair[1].get("f.bin").body == content, "it knows that it has an old version, and fetches the new"
    answer = pair[0].write("f.bin?min_copies=2", content)
    assert (answer.status, answer.json()["stored"]) == (503, ["server1"])
    ballast.unlink()
    pair[1].stop()
    pair[1].start()
    pair[1].gets("f.bin", content)
    pair.settles()
    pair.clears_up()


@pytest.mark.needs_root
def test_a_disk_that_turns_read_only_is_said_and_its_files_are_served(
    mount: Mount, new_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    pair = new_cluster(2, peer_timeout=PATIENCE)
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(32 * MIB)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    mount(pair[0].root, "-o", "loop,errors=remount-ro", str(image))
    pair.start()
    assert pair[0].write("f.bin", OLD).json()["stored"] == ["server1", "server2"]
    turn_read_only(pair[0].root)
    for answer in (pair[0].write("f.bin", b"new"), pair[0].write("new.bin", b"new"), pair[0].remove("f.bin")):
        assert answer.status in (500, 503), answer
        assert answer.json()["detail"]
    wait_until(lambda: pair[0].ready()["degraded"], "/ready says so")
    assert not pair[0].ready()["ready"]
    for server in pair.servers:
        assert server.get("f.bin").body == OLD
        assert server.content("new.bin") is None
    answer = pair[1].write("f.bin", b"through the other")
    assert (answer.status, answer.json()["stored"]) == (200, ["server2"])
    assert [one["name"] for one in answer.json()["missing"]] == ["server1"]
    assert pair[0].get("f.bin").body == b"through the other"
    assert pair[1].staged_bytes() is None


def turn_read_only(folder: Path) -> None:
    """What the kernel does when it finds an error in the file system."""
    device = subprocess.run(
        ["findmnt", "-n", "-o", "SOURCE", str(folder)], check=True, capture_output=True, text=True
    ).stdout.strip()
    Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("a test")
    wait_until(lambda: not can_write(folder), "the file system is read-only")


def can_write(folder: Path) -> bool:
    try:
        (folder / ".accord" / "probe").touch()
    except OSError:
        return False
    return True


def chunked(server: Server, path: str, content: bytes) -> Response:
    """Content whose length nobody announces. The answer may come, and the connection end, before all of it is sent."""
    with connected(server.port) as connection:
        connection.sendall(request_bytes(f"/files/{path}", "PUT", {"Transfer-Encoding": "chunked"}))
        with suppress(ConnectionError):
            for offset in range(0, len(content), MIB):
                block = content[offset : offset + MIB]
                connection.sendall(b"%x\r\n%b\r\n" % (len(block), block))
            connection.sendall(b"0\r\n\r\n")
        return read_response(connection, "PUT")


def test_a_name_that_is_used_again_with_an_empty_disk(pair: Cluster) -> None:
    for content in (b"one", b"two", OLD):
        for path in ("seen.txt", "unseen.txt", "lost.txt"):
            assert pair[1].write(path, content).status in (200, 201)
    pair[1].kill()
    empty(pair[1].root)
    pair[1].start()
    pair.meet()
    answer = pair[1].write("seen.txt", b"new")
    assert (answer.status, answer.json()["result"]["verdict"]) == (200, "identical")
    assert [pair[0].content("seen.txt"), pair[1].content("seen.txt")] == [b"new", b"new"]
    pair[0].kill()
    pair[1].kill()
    empty(pair[1].root)
    pair[1].start()
    for content in (b"other one", b"other two", b"other"):
        assert pair[1].write("unseen.txt", content).status in (200, 201)
    pair[0].start()
    pair.meet()
    rivals = {digest_of(OLD), digest_of(b"other")}
    for server in pair.servers:
        wait_until(lambda s=server: {OLD, b"other"} <= {*s.kept(), s.content("unseen.txt")}, f"{server.name} has both")
        answer = server.get("unseen.txt")
        assert answer.status == 300, "nobody had seen the other's: its counters are no old ones"
        assert {one["digest"] for one in answer.json()["versions"]} == rivals
    assert pair[1].get("lost.txt").body == OLD, "an empty disk is no deletion"
    pair[1].gets("lost.txt", OLD)
    assert pair[0].get("seen.txt").body == b"new"


def empty(root: Path) -> None:
    for one in root.iterdir():
        if one.is_dir():
            shutil.rmtree(one)
        else:
            one.unlink()


@pytest.mark.skipif(FAKETIME is None and not os.environ.get("CI"), reason="needs libfaketime")
@pytest.mark.parametrize("offset", ["+365d", "-365d"], ids=["ahead", "behind"])
def test_a_clock_that_is_a_year_off_changes_nothing(new_cluster: Callable[..., Cluster], offset: str) -> None:
    assert FAKETIME is not None, "needs libfaketime (apt install libfaketime)"
    pair = new_cluster(2, peer_timeout=PATIENCE)
    pair[1].environ = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    pair.start()
    years = set()
    for turn in range(4):
        content = b"content %d" % turn
        answer = pair[turn % 2].write("f.txt", content)
        years.add(answer.json()["modified"][:4])
        assert answer.json()["missing"] == []
        for server in pair.servers:
            answer = server.get("f.txt")
            assert (answer.body, answer.headers["accord-verdict"]) == (content, "identical")
    assert len(years) == 2, "the clocks differ"
    for server in pair.servers:
        events = server.history("f.txt")
        assert [one["digest"] for one in events] == [digest_of(b"content %d" % turn) for turn in (3, 2, 1, 0)]
        assert [one["current"] for one in events] == [True] + [False] * 3
    pair[1].kill()
    assert pair[0].write("f.txt", b"while it was away").status == 200
    assert pair[0].write("g.txt", b"while it was away").status == 201
    assert pair[0].remove("g.txt").status == 200
    pair[1].start()
    pair[1].gets("f.txt", b"while it was away")
    pair.meet()
    for server in pair.servers:
        assert server.get("f.txt").headers["accord-verdict"] == "identical"
        assert server.get("g.txt").status == 410
    for server in pair.servers:
        for turn in range(4):
            assert server.delivers("f.txt", b"content %d" % turn), (
                "no old version expires because of somebody else's clock"
            )


def test_old_versions_are_let_go(new_cluster: Callable[..., Cluster]) -> None:
    pair = new_cluster(2, peer_timeout=PATIENCE, keep_versions=2)
    pair.start()
    contents = [b"content %d" % number for number in range(6)]
    for content in contents:
        for path in ("f.txt", "deleted.txt"):
            assert pair[0].write(path, content).json()["stored"] == ["server1", "server2"]
    assert pair[0].remove("deleted.txt").status == 200
    for server in pair.servers:
        server.stop()
    pair.start()
    for server in pair.servers:
        # Two of each path: of the deleted one the last, too, which is current at the other.
        wait_until(lambda s=server: sorted(s.kept()) == contents[3:], f"{server.name} lets the others go")
        assert server.content("f.txt") == contents[5]
    for server in pair.servers:
        for content in contents[3:]:
            assert server.delivers("f.txt", content)
        answer = server.get(f"f.txt?version={digest_of(contents[0])}")
        assert (answer.status, answer.json()["type"]) == (404, "/problems/no-such-version")

"""Everything that the documents say about writing, done by hand from the command line against real servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from accord import Client
from accord.cli.app import run
from accord.client.results import Written
from accord.errors import Unavailable
from accord.model.names import Digest
from tests.system.harness import Cluster, Server, wait_until

ACCORD = str(Path(sys.executable).with_name("accord"))
MIDDLE = b"".join(b"line %d\n" % number for number in range(9))
BASE, MINE, YOURS = b"one\n" + MIDDLE + b"two\n", b"ONE\n" + MIDDLE + b"two\n", b"one\n" + MIDDLE + b"TWO\n"


class Shell:
    """Runs `accord` in a folder, against the servers of a cluster, the first one first."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder = folder
        self.cluster = cluster

    def __call__(self, *words: str, code: int = 0, stdin: bytes = b"") -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ACCORD_")}
        done = subprocess.run(
            [ACCORD, *words],
            cwd=self.folder,
            env=kept | {"ACCORD_SERVERS": ",".join(map(url, self.cluster.servers)), "NO_COLOR": "1"},
            input=stdin,
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == code, (words, done.stdout.decode(), done.stderr.decode())
        return done.stdout.decode() + done.stderr.decode()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture
def accord(pair: Cluster, tmp_path: Path) -> Shell:
    (tmp_path / "desk").mkdir()
    return Shell(tmp_path / "desk", pair)


def held(cluster: Cluster, path: str) -> list[bytes | None]:
    """What lies in each server's directory."""
    places = [server.root / path for server in cluster.servers]
    return [place.read_bytes() if place.exists() else None for place in places]


def disputed(cluster: Cluster, path: str, one: bytes, other: bytes) -> None:
    """Two writers who saw the same write at once, through two servers."""
    with Client(url(cluster[0])) as first, Client(url(cluster[1])) as second:
        seen = first.stat(path).context
        first.put(path, one, context=seen)
        assert second.put(path, other, context=seen).result.verdict.value == "diverged"


def parted(cluster: Cluster, contents: dict[str, tuple[bytes, bytes, bytes]]) -> None:
    """Both servers have the first content of each path; then each takes a write of its own while the other is down."""
    with Client(url(cluster[0])) as client:
        for path, (base, _, _) in contents.items():
            client.put(path, base)
    for mine, other in ((0, 1), (1, 0)):
        cluster[other].stop()
        if cluster[mine].process is None:
            cluster[mine].start()
        with Client(url(cluster[mine])) as client:
            for path, sides in contents.items():
                client.put(path, sides[1 + mine])
    cluster[0].start()
    for path in contents:
        wait_until(lambda a=path: cluster[0].get(a).status == 300, f"{path} is disputed")  # type: ignore[misc]


def test_a_file_there_and_back(accord: Shell, pair: Cluster) -> None:
    script = accord.folder / "run.sh"
    script.write_bytes(b"#!/bin/sh\n")
    script.chmod(0o755)
    os.utime(script, ns=(0, 1_700_000_000_123_456_000))
    assert accord("put", "run.sh", "bin/") == "bin/run.sh  10 B  stored on server1, server2\n"
    assert held(pair, "bin/run.sh") == [b"#!/bin/sh\n"] * 2
    accord("get", "bin/run.sh", "back")
    back = (accord.folder / "back").stat()
    assert (back.st_mtime_ns, back.st_mode & 0o100) == (1_700_000_000_123_456_000, 0o100)
    accord("put", "-", "bin/run.sh", "-m", "by pipe", stdin=b"x" * 3_000_000)
    assert held(pair, "bin/run.sh") == [b"x" * 3_000_000] * 2
    assert "by pipe" in accord("log", "bin/run.sh")


def test_a_file_of_many_blocks(accord: Shell, pair: Cluster) -> None:
    content = os.urandom(20_000_000)
    (accord.folder / "large").write_bytes(content)
    accord("put", "large")
    assert held(pair, "large") == [content] * 2


def test_cp_mv_rm_and_back(accord: Shell, pair: Cluster) -> None:
    accord("put", "-", "a.txt", stdin=b"first")
    accord("put", "-", "a.txt", stdin=b"second")
    assert accord("cp", "a.txt", "copies/") == "copies/a.txt  6 B  stored on server1, server2\n"
    assert accord("mv", "a.txt", "b.txt") == "b.txt  6 B  stored on server1, server2\n"
    assert held(pair, "a.txt") == [None, None]
    assert held(pair, "b.txt") == [b"second"] * 2
    assert accord("rm", "b.txt") == "b.txt  deleted on server1, server2\n"
    accord("rm", "b.txt", code=5)
    accord("cat", "b.txt", code=5)
    events = json.loads(accord("log", "a.txt", "--json"))["events"]
    assert [event["deed"] for event in events] == ["move", "put", "put"]
    first = events[-1]["digest"]
    assert accord("cat", "a.txt", "--version", first) == "first"
    accord("restore", "a.txt", first[7:23])
    assert held(pair, "a.txt") == [b"first"] * 2
    accord("put", "-", "a.txt", "--if-absent", code=1, stdin=b"no")
    accord("put", "-", "a.txt", "--if-match", first, stdin=b"yes")
    assert held(pair, "a.txt") == [b"yes"] * 2


def test_rivals_are_kept_until_one_is_chosen_and_the_choice_is_taken_back(accord: Shell, pair: Cluster) -> None:
    disputed(pair, "notes.txt", b"one", b"another")
    assert "accord resolve notes.txt" in accord("put", "-", "notes.txt", code=6, stdin=b"x")
    accord("get", "notes.txt", code=6)
    another = Digest(blake3(b"another").digest()).hex()[:12]
    assert sorted(os.listdir(accord.folder)) == sorted(["notes.server1+server2.txt", f"notes.{another}.txt"])
    told = accord("resolve", "notes.txt", "--keep", another, "-m", "the longer one")
    assert told.endswith("stored on server1, server2\n")
    assert held(pair, "notes.txt") == [b"another"] * 2
    assert "the longer one" in accord("log", "notes.txt")
    assert accord("resolve", "notes.txt", "--undo").endswith("stored on server1, server2; again 2 rival versions\n")
    verdict = json.loads(accord("stat", "notes.txt", "--json", code=6))
    assert sorted(version["size"] for version in verdict["versions"]) == [3, 7]
    accord("resolve", "notes.txt", "--keep", "deleted")
    accord("cat", "notes.txt", code=5)
    accord("resolve", "notes.txt", "--undo")
    accord("resolve", "notes.txt", "--keep", "largest")
    assert accord("cat", "notes.txt") == "another"


@pytest.mark.parametrize("kept", ["largest", "deleted"])
def test_an_undoing_that_breaks_off_says_what_stands_and_is_finished_by_the_next(
    accord: Shell, pair: Cluster, kept: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disputed(pair, "notes.txt", b"one", b"another")
    accord("resolve", "notes.txt", "--keep", kept)
    written = []
    copy = Client.copy

    def copy_once(self: Client, *words: Any, **options: Any) -> Written:
        if written:
            raise Unavailable("The servers went away.")
        written.append(copy(self, *words, **options))
        return written[0]

    monkeypatch.setattr(Client, "copy", copy_once)
    assert run(["resolve", "notes.txt", "--undo", "--server", url(pair[0])]) == 3
    first = {3: b"one", 7: b"another"}[written[0].size]
    told = capsys.readouterr().err
    assert f"{written[0].digest.hex()[:12]} alone is current now" in told
    assert held(pair, "notes.txt") == [first] * 2
    assert "again 2 rival versions" in accord("resolve", "notes.txt", "--undo")
    verdict = json.loads(accord("stat", "notes.txt", "--json", code=6))
    assert sorted(version["size"] for version in verdict["versions"]) == [3, 7]


def test_a_rival_that_was_restored_is_no_undoing_that_broke_off(accord: Shell, pair: Cluster) -> None:
    disputed(pair, "notes.txt", b"one", b"another")
    accord("resolve", "notes.txt", "--keep", "largest")
    accord("restore", "notes.txt", Digest(blake3(b"one").digest()).hex())
    assert "no choice to take back" in accord("resolve", "notes.txt", "--undo", code=1)


def test_merge_over_the_ancestor_in_the_history(accord: Shell, pair: Cluster) -> None:
    parted(pair, {"notes.txt": (BASE, MINE, YOURS), "clash.txt": (b"a\n", b"b\n", b"c\n")})
    assert held(pair, "clash.txt") == [b"b\n", b"c\n"]
    accord("resolve", "notes.txt", "--merge")
    assert held(pair, "notes.txt") == [b"ONE\n" + MIDDLE + b"TWO\n"] * 2
    accord("resolve", "clash.txt", "--merge", code=6)
    accord("resolve", "clash.txt", "--merge", "--markers")
    both = b"<<<<<<< server1\nb\n=======\nc\n>>>>>>> server2\n"
    assert held(pair, "clash.txt") == [both] * 2


def test_a_pattern(accord: Shell, pair: Cluster) -> None:
    for path in ("p/a", "p/b", "q"):
        disputed(pair, path, b"1", b"22")
    assert len(accord("resolve", "p/*", "--keep", "newest", "--dry-run").splitlines()) == 2
    accord("resolve", "p/*", "--keep", "largest")
    assert held(pair, "p/a") == held(pair, "p/b") == [b"22", b"22"]
    accord("stat", "q", code=6)


def test_trees(accord: Shell, pair: Cluster) -> None:
    contents = {f"d{number % 5}/f{number}": b"%d" % number for number in range(40)}
    for path, content in contents.items():
        (accord.folder / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (accord.folder / "tree" / path).write_bytes(content)
    assert "40 stored" in accord("put", "-r", "tree", "there")
    for path, content in contents.items():
        assert held(pair, f"there/{path}") == [content] * 2
    assert "40 there already" in accord("put", "-r", "tree", "there")
    assert "40 saved" in accord("get", "-r", "there", "back")
    found = {
        str(file.relative_to(accord.folder / "back")): file.read_bytes()
        for file in (accord.folder / "back").rglob("f*")
    }
    assert found == contents
    assert "40 there already" in accord("get", "-r", "there", "back")
    assert "would be deleted" in accord("rm", "-r", "there", "--dry-run")
    assert "40 deleted" in accord("rm", "-r", "there")
    accord("ls", "there", code=5)


def test_a_server_that_is_down_gets_it_later(accord: Shell, pair: Cluster) -> None:
    accord("put", "-", "old.txt", stdin=b"old")
    pair[1].stop()
    wait_until(lambda: not pair[0].sees("server2"), "server1 knows that server2 is down")
    told = accord("put", "-", "notes.txt", code=3, stdin=b"text")
    assert told.startswith("notes.txt  4 B  stored on server1; server2 gets it later (")
    assert "server2" in accord("put", "-", "two.txt", "--min-copies", "2", code=3, stdin=b"two")
    accord("rm", "old.txt", code=3)
    accord("put", "-", "x", code=3, stdin=b"x")
    pair[1].start()
    for path, content in {"notes.txt": b"text", "x": b"x", "old.txt": None}.items():
        wait_until(lambda a=path, b=content: held(pair, a)[1] == b, f"{path} was delivered")  # type: ignore[misc]


def test_the_next_server_is_tried(new_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    cluster = new_cluster(2)
    cluster.start()
    cluster[0].kill()
    told = Shell(tmp_path, cluster)("put", "-", "x", code=3, stdin=b"x")
    assert told.startswith("x  1 B  stored on server2; server1 gets it later")

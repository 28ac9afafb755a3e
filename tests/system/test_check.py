"""`accord check` against real servers: folders and servers in every mix, two servers of one cluster, two clusters."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.harness import Cluster, Server, make_cluster
from tests.system.test_verdicts import rot

ACCORD = str(Path(sys.executable).with_name("accord"))
QUIET = {"watch": False, "scan_every": "never", "scrub_every": "never", "sync_every": "never"}
FILES = {"a/same": b"1", "a/longer": b"22", "b/other": b"x" * 100_000, "ö": b"", "z": b"last"}


def check(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ACCORD, "check", *words],
        env={**os.environ, "NO_COLOR": "1", **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def url(server: Server, path: str = "") -> str:
    return f"http://127.0.0.1:{server.port}{path}"


@pytest.fixture
def quiet(new_cluster: Callable[..., Cluster]) -> Cluster:
    """Two servers with the same files, which look at nothing by themselves."""
    pair = new_cluster(2, **QUIET)
    for server in pair.servers:
        for path, content in FILES.items():
            server.put(path, content)
    pair.start()
    for server in pair.servers:
        server.gets("z", b"last")
    return pair


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path, content in FILES.items():
        file = tmp_path / "folder" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return tmp_path / "folder"


def test_a_folder_and_a_server(quiet: Cluster, folder: Path) -> None:
    one = quiet[0]
    for words in ([str(folder), url(one)], [url(one), f"{folder}/"], [str(folder / "a"), url(one, "/files/a/")]):
        done = check(*words)
        assert (done.returncode, done.stdout) == (0, ""), done
    folder.joinpath("a/longer").write_bytes(b"23")
    folder.joinpath("a/new").write_bytes(b"new")
    folder.joinpath("b/other").unlink()
    folder.joinpath("link").symlink_to("z")
    done = check(str(folder), url(one))
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["*", "a/longer"],
        ["+", "a/new"],
        ["-", "b/other"],
        ["!", "link"],
    ]
    assert done.returncode == 1, "what could not be compared here is worse than what differs"
    *_, end = map(json.loads, check(url(one, "/list/a/"), str(folder / "a"), "--json").stdout.splitlines())
    assert end == {"summary": {"only right": 1, "differs": 1, "same": 1}, "exit_code": 6}
    assert check(str(folder / "z"), url(one, "/files/z")).returncode == 0


def test_two_servers_of_one_cluster_are_compared_by_what_each_holds(quiet: Cluster) -> None:
    one, two = quiet.servers
    done = check(url(one), url(two), "--all")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, len(FILES)), done
    assert "the copies that each of them holds" in done.stderr
    two.put("a/longer", b"edited")
    two.root.joinpath("b/other").unlink()
    done = check(url(one), url(two))
    assert done.returncode == 6
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["*", "a/longer"], ["+", "b/other"]], done


def test_two_clusters(quiet: Cluster, folder: Path, tmp_path: Path) -> None:
    tmp_path.joinpath("other").mkdir()
    other = make_cluster(tmp_path / "other", 1, **QUIET)
    try:
        shutil.copytree(folder, other[0].root, dirs_exist_ok=True)
        other[0].put("a/longer", b"more")
        other.start()
        done = check(url(quiet[0]), url(other[0], "/"))
        assert (done.returncode, done.stdout.split()[:2]) == (6, ["*", "a/longer"]), done
        assert check(url(quiet[0], "/files/b/"), url(other[0], "/files/b/")).returncode == 0
    finally:
        other.end()


def test_rivals_damage_and_silence(quiet: Cluster, folder: Path) -> None:
    one, two = quiet.servers
    two.put("a/longer", b"33")
    done = check(str(folder), url(one))
    assert (done.returncode, done.stdout.split()[:2]) == (6, ["*", "a/longer"]), (
        "a rival differs, whichever version equals"
    )
    two.kill()
    done = check(str(folder / "b"), url(one, "/files/b/"))
    assert (done.returncode, "server2" in done.stderr) == (3, True), done
    done = check(str(folder / "z"), url(one, "/files/z"))
    assert (done.returncode, done.stdout) == (3, ""), "a file is a file, whoever is silent"
    two.start()
    for server in (one, two):
        rot(server, "z", b"lost")
    quiet.meet()
    for server in (one, two):
        server.get("z")
    done = check(str(folder), url(one))
    assert (done.returncode, [line.split()[:2] for line in done.stdout.splitlines()]) == (
        8,
        [["*", "a/longer"], ["!", "z"]],
    ), done


def test_what_is_not_there(quiet: Cluster, folder: Path) -> None:
    one = quiet[0]
    assert check(str(folder / "none"), url(one)).returncode == 2
    assert check(str(folder), url(one, "/files/none/")).returncode == 5
    quiet[0].kill()
    done = check(str(folder), url(one))
    assert (done.returncode, "Traceback" in done.stderr) == (3, False), done

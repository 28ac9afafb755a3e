"""`accord check` as a process: folders, servers and single files, what is printed, the exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.client.scripted import ROTTEN, SILENT, Serve, digest_of


def write(root: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


LEFT = {"same": b"1", "one/differs": b"22", "one/here": b"3", "short": b"1"}
RIGHT = {"same": b"1", "one/differs": b"23", "two/there": b"3", "short": b"12"}


def test_two_folders(accord: Run, tmp_path: Path) -> None:
    write(tmp_path / "left", LEFT)
    write(tmp_path / "right", RIGHT)
    done = accord("check", "left/", "right")
    assert done.returncode == 6
    assert done.stdout == "* one/differs\n+ one/here\n* short\n- two/there\n"
    assert done.stderr == "accord: 1 only in LEFT, 1 only in RIGHT, 2 different, 1 the same\n"
    done = accord("check", "right", "left", "--all")
    assert done.stdout == "* one/differs\n- one/here\n= same\n* short\n+ two/there\n"
    done = accord("check", "left", "right", "--size-only", "--all")
    assert done.stdout.splitlines()[0] == "= one/differs"
    assert accord("check", "left/one", "right/two", "--json").returncode == 6


def test_json(accord: Run, tmp_path: Path) -> None:
    write(tmp_path / "left", LEFT)
    write(tmp_path / "right", RIGHT)
    done = accord("check", "left", "right", "--json")
    *items, end = map(json.loads, done.stdout.splitlines())
    assert items[0] == {
        "path": "one/differs",
        "result": "differs",
        "left": {"size": 2, "digest": str(digest_of(b"22"))},
        "right": {"size": 2, "digest": str(digest_of(b"23"))},
        "exit_code": 6,
    }
    here = {"path": "one/here", "result": "only left", "left": {"size": 1}, "right": None, "exit_code": 6}
    assert items[1] == here
    assert end == {"summary": {"only left": 1, "only right": 1, "differs": 2, "same": 1}, "exit_code": 6}
    assert (done.stderr, done.returncode) == ("", 6)


def test_what_is_the_same(accord: Run, tmp_path: Path) -> None:
    write(tmp_path / "tree", LEFT)
    write(tmp_path / "copy", LEFT)
    (tmp_path / "copy" / "empty").mkdir()
    (tmp_path / "link").symlink_to("copy")
    for words in (["tree", "copy"], ["tree", "link"], ["link/", "tree"]):
        done = accord("check", *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "accord: 4 the same\n")
    done = accord("check", "tree", "tree/../tree")
    assert done.returncode == 0
    assert "are the same folder" in done.stderr
    (tmp_path / "none").mkdir()
    done = accord("check", "none", "none/.")
    assert done.stderr.endswith("accord: nothing to compare\n")


def test_a_folder_within_the_other(accord: Run, tmp_path: Path) -> None:
    write(tmp_path, {"x": b"1", "sub/x": b"1"})
    done = accord("check", ".", "sub")
    assert (done.returncode, done.stdout) == (6, "+ sub/x\n")


def test_single_files(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    script.put("a/x", server1=b"1", server2=b"1")
    write(tmp_path, {"x": b"1", "y": b"2", "z": b"1", "folder/x": b"1"})
    assert accord("check", "x", "z").returncode == 0
    done = accord("check", "x", "y")
    assert (done.returncode, done.stdout) == (6, "* x\n")
    assert accord("check", "x", f"{url}/files/a/x").returncode == 0
    assert accord("check", f"{url}/files/a/x", "y").stdout == "* x\n"
    for words in (["x", "folder"], ["folder", "x"], ["x", url], [f"{url}/files/a/x", "folder"]):
        done = accord("check", *words)
        assert done.returncode == 2
        assert "is a file, and" in done.stderr


def test_a_folder_and_a_server(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    script.put("p/same", server1=b"1", server2=b"1")
    script.put("p/partial", server1=None, server2=b"1")
    script.put("p/rival", server1=b"1", server2=b"2")
    script.put("p/rotten", server1=ROTTEN, server2=ROTTEN)
    script.put("p/there", server1=b"1", server2=b"1")
    script.put("q", server1=b"1", server2=b"1")
    write(tmp_path / "here", {"same": b"1", "partial": b"1", "rival": b"1", "rotten": b"1"})
    for target in ("/files/p/", "/files/p", "/list/p/"):
        done = accord("check", "here", url + target)
        assert done.returncode == 8
        assert done.stdout.splitlines() == [
            "* rival  (2 rival versions, on server1, server2)",
            "! rotten  (every copy is damaged)",
            "- there",
        ]
    assert "+ q\n" in accord("check", url, "here").stdout


def test_two_servers_of_one_cluster_are_compared_by_their_own_copies(accord: Run, serve: Serve) -> None:
    one, first = serve()
    other, second = serve()
    other.names = ("server2", "server1")
    for script in (one, other):
        script.put("same", server1=b"1", server2=b"1")
        script.put("here", server1=b"1", server2=None)
        script.put("there", server1=None, server2=b"1")
    done = accord("check", first, second)
    assert (done.returncode, done.stdout) == (6, "+ here\n- there\n")
    assert "server1 and server2 are of one cluster" in done.stderr
    assert accord("check", first, first).returncode == 0, "the same server serves the same"


def test_who_could_not_be_asked(accord: Run, serve: Serve, dead_url: str, tmp_path: Path) -> None:
    script, url = serve()
    script.put("x", server1=b"1", server2=SILENT)
    write(tmp_path / "here", {"x": b"1"})
    assert accord("check", "here", url).returncode == 0
    script.listing_silent = ("server2",)
    done = accord("check", "here", url)
    assert done.returncode == 3
    assert "could not ask server2: what only they have is not compared" in done.stderr
    script.cut_listing = True
    assert accord("check", "here", url).returncode == 3
    for words in (["here", dead_url], [dead_url, "here"]):
        done = accord("check", *words)
        assert (done.returncode, done.stdout) == (3, "")


@pytest.mark.parametrize("words", [["here", "nothing"], ["nothing", "here"], ["here"], ["here", ""], ["here", "pipe"]])
def test_what_makes_no_sense(accord: Run, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "here").mkdir()
    os.mkfifo(tmp_path / "pipe")
    done = accord("check", *words)
    assert (done.returncode, done.stdout) == (2, "")


def test_what_is_not_on_the_server(accord: Run, serve: Serve, tmp_path: Path) -> None:
    _, url = serve()
    (tmp_path / "here").mkdir()
    assert accord("check", "here", url).returncode == 0, "an empty server is as good as an empty folder"
    assert accord("check", "here", f"{url}/files/typo/").returncode == 5
    assert accord("check", "here", f"{url}/files/typo").returncode == 5
    assert accord("check", "here", f"{url}/files/../x").returncode == 2


def test_names_that_pretend_to_be_lines(accord: Run, tmp_path: Path) -> None:
    write(tmp_path / "left", {"x\n= y": b"1"})
    (tmp_path / "right").mkdir()
    done = accord("check", "left", "right")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1

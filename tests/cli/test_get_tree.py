"""`accord get -r`: what lies in the folder afterwards, and that a run that was broken off is finished by the next."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from tests.cli.conftest import ACCORD, Run, environment
from tests.client.scripted import SILENT, Fault, Script, Serve
from tests.client.writable import Writable
from tests.system.harness import wait_until

LONG = bytes(range(256)) * 40_000


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def filled(script: Script) -> None:
    for path, content in {"p/a.txt": b"a", "p/b/c.txt": b"c", "p/b/d/e.txt": b"e", "q": b"no"}.items():
        script.put(path, server1=content, server2=content)


def gets(script: Script) -> list[str]:
    return [target for method, target, _ in script.seen if method == "GET" and target.startswith("/files/")]


def test_a_tree_is_saved_and_a_second_run_fetches_nothing(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    filled(script)
    done = accord("get", "-r", "p", "here", "--dry-run", url=url)
    assert (done.returncode, (tmp_path / "here").exists()) == (0, False)
    assert done.stdout.splitlines()[0].endswith("would save as here/a.txt")
    done = accord("get", "-r", "p", "here", url=url)
    assert done.returncode == 0
    assert files(tmp_path / "here") == {"a.txt": b"a", "b/c.txt": b"c", "b/d/e.txt": b"e"}
    (tmp_path / "here/a.txt").write_bytes(b"A")
    (tmp_path / "here/b/c.txt").unlink()
    fetched = len(gets(script))
    done = accord("get", "-r", "p", "here", "--json", url=url)
    assert sorted(gets(script)[fetched:]) == ["/files/p/a.txt", "/files/p/b/c.txt"]
    *_, end = map(json.loads, done.stdout.splitlines())
    assert end == {"summary": {"saved": 2, "same": 1}, "exit_code": 0} or end["summary"] == {"same": 1, "saved": 2}
    assert files(tmp_path / "here")["a.txt"] == b"a"


def test_everything_goes_into_the_current_folder_unless_told(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    filled(script)
    assert accord("get", "-r", "/", url=url).returncode == 0
    assert set(files(tmp_path)) == {"p/a.txt", "p/b/c.txt", "p/b/d/e.txt", "q"}


def test_rivals_lie_side_by_side(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    filled(script)
    script.put("p/b/notes.txt", server1=b"one", server2=b"two")
    for _ in "once", "and again, which changes nothing":
        assert accord("get", "-r", "p/b", url=url).returncode == 6
        assert files(tmp_path) == {
            "c.txt": b"c",
            "d/e.txt": b"e",
            "notes.server1.txt": b"one",
            "notes.server2.txt": b"two",
        }


def test_nothing_is_written_outside(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    filled(script)
    (tmp_path / "outside").mkdir()
    (tmp_path / "here/b/d").mkdir(parents=True)
    (tmp_path / "here/b/d").rmdir()
    (tmp_path / "here/b/d").symlink_to(tmp_path / "outside")
    (tmp_path / "here/a.txt").symlink_to(tmp_path / "outside/a.txt")
    (tmp_path / "here/b/c.txt").mkdir()
    done = accord("get", "-r", "p", "here", url=url)
    assert done.returncode == 1
    assert os.listdir(tmp_path / "outside") == []
    for name, what in {"b/d": "a link, and no folder", "a.txt": "a link, and no file", "b/c.txt": "a folder"}.items():
        assert f"here/{name} stands in the way: it is {what}" in done.stderr


def test_what_is_not_there_and_who_is_silent(accord: Run, serve: Serve) -> None:
    script, url = serve()
    filled(script)
    script.put("p/a.txt", server1=b"a", server2=SILENT)
    assert accord("get", "-r", "zzz", url=url).returncode == 5
    assert accord("get", "-r", "p", "q", "r", url=url).returncode == 2
    script.listing_silent = ("server2",)
    done = accord("get", "-r", "p", url=url)
    assert done.returncode == 3
    assert "files that only they have are missing here" in done.stderr


def test_the_executable_bit_is_set(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve(Writable())
    (tmp_path / "run.sh").write_bytes(b"#!/bin/sh\n")
    script.put("run.sh", server1=b"#!/bin/sh\n", server2=b"#!/bin/sh\n")
    script.executable = True
    assert accord("get", "run.sh", "there", url=url).returncode == 0
    assert (tmp_path / "there").stat().st_mode & 0o111 == (tmp_path / "there").stat().st_mode >> 2 & 0o111
    assert (tmp_path / "there").stat().st_mode & 0o100


def test_an_interrupted_run_is_finished_by_the_next(accord: Run, serve: Serve, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a long file: what was saved stays, what was begun is continued, nothing is fetched twice."""
    script, url = serve()
    script.put("a.txt", server1=b"a", server2=b"a")
    script.put("long.bin", server1=LONG, server2=LONG)
    script.faults = [None, Fault(wait_at=9_000_000)]
    words = [ACCORD, "get", "-r", "/", "here", "--jobs", "1"]
    process = subprocess.Popen(words, cwd=tmp_path, env=environment(url), stderr=subprocess.PIPE)
    # The short file comes first, and has a part of its own until it is whole.
    wait_until(
        lambda: (
            (tmp_path / "here/a.txt").exists()
            and any(part.stat().st_size for part in tmp_path.glob("here/.*.accord-part"))
        ),
        "some of the long file was written",
    )
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"interrupted" in said
    assert b"Traceback" not in said
    script.go_on.set()
    assert (tmp_path / "here/a.txt").read_bytes() == b"a"
    fetched = len(script.seen)
    assert accord("get", "-r", "/", "here", url=url).returncode == 0
    assert files(tmp_path / "here") == {"a.txt": b"a", "long.bin": LONG}
    ranges = [fields.get("Range") for _, target, fields in script.seen[fetched:] if target == "/files/long.bin"]
    assert ranges != []
    assert all(ranges), "continued, and not begun again"

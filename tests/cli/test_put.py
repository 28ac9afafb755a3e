"""`accord put`, `rm`, `cp`, `mv`, `log` and `restore` as processes: what the servers were told, what is printed, the exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import ACCORD, Run, environment
from tests.client.scripted import SILENT, Serve, digest_of
from tests.client.writable import CutOff, Hold, Refusal, Writable

TEXT = b"This is a test"


def test_one_file(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve(Writable())
    (tmp_path / "hello.txt").write_bytes(TEXT)
    done = accord("put", "hello.txt", "--message", "first", "--author", "anna", url=url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "hello.txt  14 B  stored on server1, server2\n"
    assert script.received[0].fields["Accord-Author"] == "anna"
    assert script.received[0].fields["Accord-Message"] == "first"
    assert accord("put", "hello.txt", "a/b/", url=url).stdout.startswith("a/b/hello.txt  ")
    assert accord("put", "hello.txt", "other.txt", url=url).stdout.startswith("other.txt  ")
    assert "%40" in script.received[1].fields["Accord-Author"], "user@host"


def test_stdin(serve: Serve, tmp_path: Path) -> None:
    script, url = serve(Writable())
    for words in (["-", "x"], ["x"]):
        done = subprocess.run(
            [ACCORD, "put", *words], cwd=tmp_path, env=environment(url), input=TEXT, capture_output=True, timeout=60
        )
        assert done.returncode == (0 if words[0] == "-" else 1)
    assert script.received[0].body == TEXT


def test_who_gets_it_later_is_told_with_exit_3(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve(Writable(names=("server1", "server2", "server3"), late={"server3": "refused the connection"}))
    (tmp_path / "notes.txt").write_bytes(TEXT)
    done = accord("put", "notes.txt", url=url)
    assert done.returncode == 3
    assert (
        done.stdout == "notes.txt  14 B  stored on server1, server2; server3 gets it later (refused the connection)\n"
    )
    told = json.loads(accord("put", "notes.txt", "--json", url=url).stdout)
    assert (told["stored"], told["missing"]) == (
        ["server1", "server2"],
        [{"name": "server3", "reason": "refused the connection"}],
    )
    assert script.received[1].body == TEXT


def test_rivals_are_not_buried_and_the_way_out_is_told(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve(Writable())
    script.put("notes.txt", server1=b"one", server2=b"two")
    (tmp_path / "notes.txt").write_bytes(TEXT)
    done = accord("put", "notes.txt", url=url)
    assert done.returncode == 6
    assert "`accord resolve notes.txt --keep SERVER` chooses" in done.stderr
    assert "server2" in done.stderr
    assert accord("rm", "notes.txt", url=url).returncode == 6


def test_a_command_that_is_told_can_be_typed_as_it_stands(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve(Writable())
    script.put("tree/it's $5.txt", server1=b"one", server2=b"two")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "it's $5.txt").write_bytes(TEXT)
    for words in (["put", "tree/it's $5.txt", "tree/"], ["put", "-r", "tree", "tree"], ["rm", "tree/it's $5.txt"]):
        done = accord(*words, url=url)
        assert done.returncode == 6
        assert """`accord resolve 'tree/it'"'"'s $5.txt' --keep""" in done.stderr


def test_conditions(accord: Run, serve: Serve, tmp_path: Path) -> None:
    _, url = serve(Writable())
    (tmp_path / "x").write_bytes(TEXT)
    assert accord("put", "x", "--if-absent", url=url).returncode == 0
    assert accord("put", "x", "--if-absent", url=url).returncode == 1
    assert accord("put", "x", "--if-match", str(digest_of(TEXT)), url=url).returncode == 0
    assert accord("put", "x", "--if-match", str(digest_of(b"")), url=url).returncode == 1
    assert accord("put", "x", "--if-match", "abc", url=url).returncode == 2


def test_too_few_copies_says_who_has_it(accord: Run, serve: Serve, tmp_path: Path) -> None:
    told = {"stored": ["server1"], "missing": [{"name": "server2", "reason": "down"}]}
    script, url = serve(Writable(next=[Refusal(503, "too-few-copies", told, after_body=True)]))
    (tmp_path / "x").write_bytes(TEXT)
    done = accord("put", "x", "--min-copies", "2", url=url)
    assert done.returncode == 3
    assert "stored on server1; server2 gets it later (down)" in done.stderr
    assert script.received[0].target == "/files/x?min_copies=2"


def test_an_unclear_end_is_told(accord: Run, serve: Serve, tmp_path: Path) -> None:
    _, url = serve(Writable(next=[CutOff()]))
    (tmp_path / "x").write_bytes(TEXT)
    done = accord("put", "x", url=url)
    assert done.returncode == 1
    assert "did not say whether x was stored" in done.stderr
    assert "is there now" in done.stderr


def test_what_makes_no_sense(accord: Run, serve: Serve, tmp_path: Path) -> None:
    _, url = serve(Writable())
    (tmp_path / "folder").mkdir()
    assert accord("put", "folder", url=url).returncode == 2
    assert accord("put", "-", url=url).returncode == 2
    assert accord("put", "nothing", url=url).returncode == 1
    assert accord("put", "-r", "nothing", url=url).returncode == 2
    assert accord("rm", "-r", "", url=url).returncode == 2


def test_rm(accord: Run, serve: Serve) -> None:
    script, url = serve(Writable())
    for path in ("a", "b/c", "b/d"):
        script.put(path, server1=TEXT, server2=TEXT)
    assert accord("rm", "a", "nothing", "--dry-run", url=url).stdout == "a  would delete\nnothing  would delete\n"
    assert accord("rm", "a", url=url).stdout == "a  deleted on server1, server2\n"
    done = accord("rm", "nothing", "b/c", url=url)
    assert done.returncode == 5
    assert done.stdout == "b/c  deleted on server1, server2\n"
    assert "nothing: " in done.stderr
    done = accord("rm", "-r", "b", "--json", url=url)
    assert done.returncode == 0
    *items, end = map(json.loads, done.stdout.splitlines())
    assert {item["path"]: item["did"] for item in items}["b/d"] == "deleted"
    assert end["exit_code"] == 0
    assert accord("rm", "-r", "zzz", url=url).returncode == 5


def test_cp_and_mv(accord: Run, serve: Serve) -> None:
    script, url = serve(Writable())
    script.put("a.txt", server1=TEXT, server2=TEXT)
    done = accord("cp", "a.txt", "copies/", url=url)
    assert (done.returncode, done.stdout) == (0, "copies/a.txt  14 B  stored on server1, server2\n")
    assert accord("mv", "a.txt", "b.txt", "-m", "renamed", url=url).returncode == 0
    assert accord("stat", "a.txt", url=url).returncode == 5
    assert accord("cat", "b.txt", url=url).stdout == TEXT.decode()
    assert all(not one.body for one in script.received)


def test_log_and_restore(accord: Run, serve: Serve) -> None:
    script, url = serve(Writable())
    script.happened("x", b"one", message="the first")
    script.happened("x", b"two", "copy", source="y", servers=[])
    script.happened("x", None, "delete", current=True)
    script.put("x", server1=b"one", server2=b"one")
    done = accord("log", "x", url=url)
    assert done.returncode == 0
    one, two = digest_of(b"one").hex()[:12], digest_of(b"two").hex()[:12]
    assert done.stdout.splitlines() == [
        "* 2026-01-01 00:00:02Z  delete    deleted  by anna",
        f"  2026-01-01 00:00:01Z  copy      {two}  3 B  (y)  by anna  on no server",
        f"  2026-01-01 00:00:00Z  put       {one}  3 B  by anna  on server1, server2",
        "    the first",
    ]
    script.history_silent = ("server2",)
    done = accord("log", "x", "--json", url=url)
    assert done.returncode == 3
    assert json.loads(done.stdout)["events"][0]["deed"] == "delete"
    assert accord("log", "nothing", url=url).returncode == 5
    done = accord("restore", "x", one, url=url)
    assert (done.returncode, done.stdout) == (0, "x  3 B  stored on server1, server2\n")
    assert script.received[0].fields["Accord-Source"].endswith(one)


def tree(root: Path) -> None:
    for path, content in {"a.txt": b"a", "b/c.txt": b"c", "b/d/e.txt": b"e", "b/ä ?#%.txt": b"odd"}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


def test_a_tree_is_stored_and_a_second_run_stores_nothing(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve(Writable())
    tree(tmp_path / "tree")
    (tmp_path / "tree/link").symlink_to("a.txt")
    os.mkfifo(tmp_path / "tree/fifo")
    (tmp_path / "tree/.accord").mkdir()
    (tmp_path / "tree/.accord/secret").write_bytes(b"")
    (tmp_path / "tree/b/.accord").mkdir()
    (tmp_path / "tree/b/.accord/secret").write_bytes(b"")
    (tmp_path / f"tree/b/.c.txt.{'0' * 64}.accord-part").write_bytes(b"half")
    done = accord("put", "-r", "tree", "into", "--dry-run", url=url)
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines())[0] == "into/a.txt  1 B  would store"
    assert script.received == []
    done = accord("put", "-r", "tree", "into", url=url)
    assert done.returncode == 0
    assert sorted(script.copies) == ["into/a.txt", "into/b/c.txt", "into/b/d/e.txt", "into/b/ä ?#%.txt"]
    assert "tree/link: skipped, a link" in done.stderr
    assert "tree/fifo: skipped, no regular file" in done.stderr
    assert done.stderr.endswith("accord: 5 skipped, 4 stored\n")
    (tmp_path / "tree/a.txt").write_bytes(b"A")
    sent = len(script.received)
    done = accord("put", "-r", "tree", "into", url=url)
    assert done.returncode == 0
    assert [one.target for one in script.received[sent:]] == ["/files/into/a.txt"]
    assert "3 there already" in done.stderr


def test_what_fails_in_a_tree_is_named_and_the_others_go_on(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve(Writable())
    tree(tmp_path)
    (tmp_path / os.fsdecode(b"b/bad\xff")).write_bytes(b"")
    script.put("b/c.txt", server1=b"one", server2=b"two")
    script.next = [Refusal(507, "disk-full")]
    done = accord("put", "-r", ".", "--json", "--jobs", "1", url=url)
    *items, end = map(json.loads, done.stdout.splitlines())
    fates = {item["path"]: (item["did"], item.get("exit_code", 0)) for item in items}
    assert fates == {
        "a.txt": ("failed", 1),
        "b/bad\\xff": ("failed", 2),
        "b/c.txt": ("failed", 6),
        "b/d/e.txt": ("stored", 0),
        "b/ä ?#%.txt": ("stored", 0),
    }
    assert end == {"summary": {"failed": 3, "stored": 2}, "exit_code": 1}
    assert done.returncode == 1


def test_an_interrupted_run_is_finished_by_the_next(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve(Writable(next=[None, Hold()]))
    tree(tmp_path / "tree")
    words = [ACCORD, "put", "-r", "tree", "--jobs", "1"]
    process = subprocess.Popen(words, cwd=tmp_path, env=environment(url), stderr=subprocess.PIPE)
    assert script.waiting.wait(30)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"interrupted" in said
    assert b"Traceback" not in said
    script.go_on.set()
    assert list(script.copies) == ["a.txt"]
    assert accord("put", "-r", "tree", url=url).returncode == 0
    targets = [one.target for one in script.received]
    assert targets.count("/files/a.txt") == 1
    assert len(script.copies) == 4


@pytest.mark.parametrize("jobs", ["0", "65", "many"])
def test_jobs_are_bounded(accord: Run, jobs: str) -> None:
    assert accord("put", "-r", ".", "--jobs", jobs).returncode == 2


def test_a_silent_server_in_the_listing_is_a_note(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve(Writable(listing_silent=("server2",)))
    tree(tmp_path)
    script.put("a.txt", server1=b"a", server2=SILENT)
    done = accord("put", "-r", ".", url=url)
    assert done.returncode == 0
    assert "could not ask server2" in done.stderr
    assert len(script.received) == 3


@pytest.mark.parametrize("also", [None, subprocess.STDOUT])
def test_who_stops_reading_does_not_stop_a_tree(serve: Serve, tmp_path: Path, also: int | None) -> None:
    """`accord put -r t | head -1` ends with 0, so that it has to have stored everything."""
    script, url = serve(Writable())
    (tmp_path / "t").mkdir()
    for number in range(60):
        (tmp_path / "t" / f"{number}.txt").write_bytes(TEXT)
    words = [ACCORD, "put", "-r", "t", "--jobs", "1"]
    putting = subprocess.Popen(words, cwd=tmp_path, env=environment(url), stdout=subprocess.PIPE, stderr=also)
    assert putting.stdout is not None
    putting.stdout.readline()
    putting.stdout.close()
    assert putting.wait(60) == 0
    assert len(script.received) == 60

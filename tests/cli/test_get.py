"""`accord get` as a process: what lies in the folder afterwards, and the exit code."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import ACCORD, Run, environment
from tests.client.scripted import DELETED, SILENT, Fault, Script, Serve, digest_of

TEXT = b"This is a test"
LONG = bytes(range(256)) * 40_000


def test_one_file(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    script.put("a/hello.txt", server1=TEXT, server2=TEXT)
    done = accord("get", "a/hello.txt", url=url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "hello.txt  14 B  identical on server1, server2\n"
    assert (tmp_path / "hello.txt").read_bytes() == TEXT


def test_rivals_are_saved_side_by_side(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve(Script(names=("server1", "server2", "server3")))
    script.put("notes.txt", server1=b"one", server2=b"two", server3=b"two")
    for _ in "once", "and again, which changes nothing":
        done = accord("get", "notes.txt", url=url)
        assert done.returncode == 6
        assert sorted(os.listdir(tmp_path)) == ["notes.server1.txt", "notes.server2+server3.txt"]
    assert (tmp_path / "notes.server1.txt").read_bytes() == b"one"
    assert (tmp_path / "notes.server2+server3.txt").read_bytes() == b"two"


def test_rivals_never_replace_an_unrelated_file(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    script.put("notes.txt", server1=b"one", server2=b"two")
    (tmp_path / "notes.server1.txt").write_bytes(b"mine")
    assert accord("get", "notes.txt", url=url).returncode == 6
    assert (tmp_path / "notes.server1.txt").read_bytes() == b"mine"
    assert (tmp_path / "notes.server1.2.txt").read_bytes() == b"one"


def test_a_rival_that_is_a_deletion_is_told(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    script.put("notes.txt", server1=b"one", server2=DELETED)
    done = accord("get", "notes.txt", url=url)
    assert done.returncode == 6
    assert "deletion, on server2" in done.stderr
    assert os.listdir(tmp_path) == ["notes.server1.txt"]


def test_a_silent_server_is_a_note_and_with_strict_exit_3(accord: Run, serve: Serve) -> None:
    script, url = serve()
    script.put("hello.txt", server1=TEXT, server2=SILENT)
    done = accord("get", "hello.txt", url=url)
    assert done.returncode == 0
    assert "could not ask server2" in done.stderr
    assert "could not ask" not in done.stdout
    assert accord("get", "hello.txt", "--strict", url=url).returncode == 3


def test_a_server_that_breaks_off_is_told_and_the_last_answer_counts(accord: Run, serve: Serve) -> None:
    first, url1 = serve()
    second, url2 = serve()
    first.put("long.bin", server1=LONG, server2=LONG)
    second.put("long.bin", server1=SILENT, server2=LONG)
    first.faults = [Fault(cut_after=6_000_000)]
    words = ("get", "long.bin", "--strict", "--server", url1, "--server", url2)
    done = accord(*words)
    assert done.returncode == 3
    assert f"long.bin: {url1} broke off at 6000000 bytes; continued from {url2}" in done.stderr
    assert "could not ask server1" in done.stderr


def test_the_whole_modified_time_is_kept(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    script.put("hello.txt", server1=TEXT, server2=TEXT)
    assert accord("get", "hello.txt", url=url).returncode == 0
    assert (tmp_path / "hello.txt").stat().st_mtime_ns == 1_700_000_000_123_456_000


def test_a_full_disk_names_the_part_and_the_next_continues_it(serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    script.put("long.bin", server1=LONG, server2=LONG)
    half = f"ulimit -f 5000; trap '' XFSZ; exec '{ACCORD}' get long.bin"
    done = subprocess.run(
        ["bash", "-c", half], cwd=tmp_path, env=environment(url), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    (part,) = tmp_path.glob(".*.accord-part")
    assert part.name in done.stderr
    assert (
        f"The {part.stat().st_size} bytes that arrived are kept in that file; the next download continues them."
        in done.stderr
    )


def test_a_dry_run_of_single_files_prints_what_one_of_a_tree_does(accord: Run, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    (tmp_path / "notes.txt").write_bytes(TEXT)
    done = accord("get", "a/x", "y", "into", "--dry-run", "--json")
    assert (done.returncode, [json.loads(line) for line in done.stdout.splitlines()]) == (
        0,
        [
            {"did": "would save", "path": "a/x", "local": "into/x"},
            {"did": "would save", "path": "y", "local": "into/y"},
            {"summary": {"would save": 2}, "exit_code": 0},
        ],
    )
    assert accord("get", "a/x", "nowhere/", "--dry-run").returncode == 2
    assert accord("get", "a/x", "--dry-run").stdout == "a/x  would save as x\n"
    done = accord("put", "notes.txt", "b/", "--dry-run", "--json")
    assert (done.returncode, [json.loads(line) for line in done.stdout.splitlines()]) == (
        0,
        [
            {"did": "would store", "path": "b/notes.txt", "local": "notes.txt"},
            {"summary": {"would store": 1}, "exit_code": 0},
        ],
    )


NO_TEXT = os.fsdecode(b"\xff")


def test_names_of_this_machine_that_are_no_text_are_written_out(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    script.put("a.txt", server1=TEXT, server2=TEXT)
    script.put("p/rivals", server1=b"one", server2=b"two")
    done = accord("get", "a.txt", NO_TEXT + "out", "--json", url=url)
    assert (done.returncode, json.loads(done.stdout)["files"][0]["destination"]) == (0, "\\xffout")
    assert (tmp_path / (NO_TEXT + "out")).read_bytes() == TEXT
    done = accord("get", "-r", "p", NO_TEXT + "into", "--json", url=url)
    (item, _) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, item["local"]) == (6, "\\xffinto/rivals")
    assert [one["destination"] for one in item["fetched"]["files"]] == [
        "\\xffinto/rivals.server1",
        "\\xffinto/rivals.server2",
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["put", NO_TEXT + "nope", "x"],
        ["put", "-r", NO_TEXT + "nope"],
        ["get", "a.txt", NO_TEXT + "/nope"],
        ["get", NO_TEXT],
        ["get", NO_TEXT, "--dry-run"],
        ["get", "-r", "p", NO_TEXT + "\udcfe/\udcfd"],
        ["get", "-r", NO_TEXT, "there"],
        ["cat", NO_TEXT],
        ["ls", NO_TEXT],
        ["rm", NO_TEXT],
        ["rm", NO_TEXT, NO_TEXT, "--dry-run"],
        ["cp", "a.txt", NO_TEXT],
        ["stat", NO_TEXT],
        ["diff", "a.txt", NO_TEXT, NO_TEXT],
        ["resolve", "r.txt", "--file", NO_TEXT],
        ["resolve", "r.txt", "--keep", NO_TEXT],
        ["check", NO_TEXT, NO_TEXT],
        ["get", "a.txt", "--server", NO_TEXT],
        ["nonsense" + NO_TEXT],
    ],
)
@pytest.mark.parametrize("form", [["--json"], []])
def test_words_that_are_no_text_are_no_fault_of_the_program(
    accord: Run, serve: Serve, words: list[str], form: list[str]
) -> None:
    script, url = serve()
    script.put("a.txt", server1=TEXT, server2=TEXT)
    script.put("r.txt", server1=b"one", server2=b"two")
    done = accord(*words, *form, url=url)
    assert "Traceback" not in done.stderr
    for line in (done.stdout + done.stderr).splitlines() if form else []:
        json.loads(line)


def test_several_paths_need_a_folder_and_all_are_tried(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    script.put("a", server1=TEXT, server2=TEXT)
    script.put("b", server1=TEXT, server2=TEXT)
    assert accord("get", "a", "b", "nowhere", url=url).returncode == 2
    (tmp_path / "into").mkdir()
    done = accord("get", "a", "missing", "b", "into", "--json", url=url)
    assert done.returncode == 5
    assert sorted(os.listdir(tmp_path / "into")) == ["a", "b"]
    assert [one["path"] for one in json.loads(done.stdout)] == ["a", "b"]
    assert json.loads(done.stderr)["type"] == "/problems/not-found"
    assert accord("get", "a", "b", "--to", "into", url=url).returncode == 0


def test_options_may_stand_anywhere(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    script.put("hello.txt", server1=TEXT, server2=TEXT)
    assert accord("get", "hello.txt", "--server", url, "mine.txt").returncode == 0
    assert accord("get", "--server", url, "hello.txt", "--strict", "yours.txt").returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["mine.txt", "yours.txt"]
    assert accord("cat", "hello.txt", "--server", url, "hello.txt").stdout == TEXT.decode() * 2


@pytest.mark.parametrize("words", [["hello.txt", "-"], ["hello.txt", "--to", "-"], ["--to", "-", "hello.txt"]])
def test_a_dash_is_stdout(accord: Run, serve: Serve, tmp_path: Path, words: list[str]) -> None:
    script, url = serve()
    script.put("hello.txt", server1=TEXT, server2=TEXT)
    done = accord("get", *words, url=url)
    assert (done.returncode, done.stdout, done.stderr) == (0, TEXT.decode(), "")
    assert os.listdir(tmp_path) == []
    script.put("-", server1=b"dash", server2=b"dash")
    assert accord("get", "--", "-", url=url).returncode == 0
    assert (tmp_path / "-").read_bytes() == b"dash"


def test_what_this_machine_refuses_is_not_put_down_to_the_server(accord: Run, serve: Serve) -> None:
    script, url = serve()
    script.put("hello.txt", server1=TEXT, server2=TEXT)
    done = accord("get", "hello.txt", "/dev/full", url=url)
    assert done.returncode == 1
    assert done.stderr == "accord: Could Not Be Saved: /dev/full: No space left on device.\n"


def test_json_is_one_value(accord: Run, serve: Serve) -> None:
    script, url = serve()
    script.put("hello.txt", server1=TEXT, server2=TEXT)
    value = json.loads(accord("get", "hello.txt", "--json", url=url).stdout)
    assert value["verdict"]["verdict"] == "identical"
    assert value["files"] == [
        {
            "destination": "hello.txt",
            "digest": str(digest_of(TEXT)),
            "size": 14,
            "servers": ["server1", "server2"],
            "resumed_from_bytes": 0,
        }
    ]


@pytest.mark.parametrize("words", [["get", "nothing"], ["cat", "nothing"], ["get", "../x"], ["get"], ["nonsense"]])
def test_an_error_in_json_is_a_problem_on_stderr(accord: Run, serve: Serve, words: list[str]) -> None:
    _, url = serve()
    done = accord(*words, "--json", url=url)
    assert done.stdout == ""
    problem = json.loads(done.stderr)
    assert problem["type"].startswith("/problems/")
    assert {"title", "status", "detail", "path", "servers"} <= set(problem)


def test_wrong_bytes_are_exit_8(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    script.put("hello.txt", server1=TEXT, server2=TEXT)
    script.faults = [Fault(flip_at=2), Fault(flip_at=2)]
    assert accord("get", "hello.txt", url=url).returncode == 8
    assert os.listdir(tmp_path) == []


def test_no_server_is_exit_3_and_names_them(accord: Run, dead_url: str) -> None:
    done = accord("get", "hello.txt", "--server", dead_url)
    assert done.returncode == 3
    assert dead_url in done.stderr


def test_no_bar_without_a_terminal_and_one_with(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    script.put("long.bin", server1=LONG, server2=LONG)
    assert accord("get", "long.bin", url=url).stderr == ""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [ACCORD, "get", "long.bin"],
        cwd=tmp_path,
        env=environment(url) | {"TERM": "xterm"},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            shown += piece
    os.close(ours)
    assert process.returncode == 0
    assert b"long.bin" in shown
    assert b"MiB" in shown


def test_ctrl_c_is_130_without_a_traceback_and_the_next_resumes(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    script.put("long.bin", server1=LONG, server2=LONG)
    script.faults = [Fault(wait_at=6_000_000)]
    with subprocess.Popen(
        [ACCORD, "get", "long.bin"], cwd=tmp_path, env=environment(url), stderr=subprocess.PIPE, text=True
    ) as process:
        assert script.waiting.wait(30)
        _until_a_part_has_bytes(tmp_path)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert told == "\naccord: interrupted\n"
    script.go_on.set()
    done = accord("get", "long.bin", "--json", url=url)
    assert json.loads(done.stdout)["files"][0]["resumed_from_bytes"] > 0
    assert (tmp_path / "long.bin").read_bytes() == LONG


def _until_a_part_has_bytes(folder: Path) -> None:
    """The test's own time limit bounds this."""
    while not any(part.stat().st_size for part in folder.glob(".*.accord-part")):
        os.sched_yield()

"""`accord cat`, `stat`, `ls` and `diff` as processes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from accord.model.verdict import Checking
from tests.cli.conftest import ACCORD, Run, environment
from tests.client.scripted import DELETED, ROTTEN, SILENT, Fault, Script, Serve, digest_of

TEXT = b"This is a test"


@pytest.mark.parametrize(
    ("copies", "code", "says"),
    [
        ({"server1": TEXT, "server2": TEXT}, 0, "identical on server1, server2"),
        ({"server2": TEXT}, 0, "on server2, lacking on server1"),
        ({"server1": TEXT, "server2": SILENT}, 3, "could not ask server2"),
        ({}, 5, "File Not Found"),
        ({"server1": DELETED, "server2": DELETED}, 5, "deleted"),
        ({"server2": SILENT}, 3, "not known whether it exists"),
        ({"server1": b"1", "server2": b"2"}, 6, "2 rival versions"),
        ({"server1": ROTTEN, "server2": ROTTEN}, 8, "damaged"),
    ],
)
def test_stat_says_the_verdict_in_words_and_by_exit_code(
    accord: Run, serve: Serve, copies: dict[str, Any], code: int, says: str
) -> None:
    script, url = serve()
    script.put("x", **copies)
    done = accord("stat", "x", url=url)
    assert done.returncode == code
    assert says in done.stdout.splitlines()[0]
    value = json.loads(accord("stat", "x", "--json", url=url).stdout)
    assert value["path"] == "x"
    assert [one["name"] for one in value["servers"]] == ["server1", "server2"]


def test_cat_writes_the_bytes_and_nothing_of_rivals(accord: Run, serve: Serve) -> None:
    script, url = serve()
    script.put("hello.txt", server1=TEXT, server2=TEXT)
    script.put("notes.txt", server1=b"one", server2=b"two")
    assert accord("cat", "hello.txt", "hello.txt", url=url).stdout == 2 * TEXT.decode()
    done = accord("cat", "notes.txt", url=url)
    assert (done.returncode, done.stdout) == (6, "")
    assert str(digest_of(b"one")) in done.stderr
    assert accord("cat", "notes.txt", "--version", digest_of(b"two").hex()[:12], url=url).stdout == "two"


def test_cat_holds_back_what_is_wrong(accord: Run, serve: Serve) -> None:
    script, url = serve()
    script.put("hello.txt", server1=TEXT, server2=TEXT)
    script.faults = [Fault(flip_at=0)]
    done = accord("cat", "hello.txt", url=url)
    assert (done.returncode, done.stdout) == (8, "")


def test_a_reader_that_has_enough_is_no_error(serve: Serve) -> None:
    script, url = serve()
    script.put("long.bin", server1=b"x" * 20_000_000, server2=b"x" * 20_000_000)
    with subprocess.Popen(
        [ACCORD, "cat", "long.bin"], env=environment(url), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        told = process.stderr.read()
    assert (process.returncode, told) == (0, b"")


def test_one_file_is_listed_if_it_is_what_is_wanted(accord: Run, serve: Serve) -> None:
    script, url = serve()
    script.put("a", server1=b"A", server2=b"A")
    done = accord("ls", "a", "--only", "diverged", url=url)
    assert (done.returncode, done.stdout) == (0, "")
    assert accord("ls", "a", "--only", "diverged", "--only", "identical", url=url).stdout.endswith("  a\n")


@pytest.mark.parametrize(("command", "end"), [("cat", []), ("get", ["-"])])
def test_of_several_files_those_behind_a_failure_are_written_too(
    accord: Run, serve: Serve, command: str, end: list[str]
) -> None:
    script, url = serve()
    script.put("a", server1=b"A", server2=b"A")
    script.put("b", server1=b"B", server2=SILENT)
    script.put("rivals", server1=b"one", server2=b"two")
    done = accord(command, "a", "missing", "rivals", "b", *end, url=url)
    assert (done.returncode, done.stdout) == (6, "AB")
    assert "File Not Found: missing" in done.stderr
    assert "Rival Versions" in done.stderr
    assert accord(command, "missing", "b", *end, url=url).returncode == 5
    if command == "get":
        assert accord("get", "a", "b", "-", "--strict", url=url).returncode == 3


@pytest.mark.parametrize("words", [["cat", "x"], ["stat", "x"], ["ls"], ["get", "x"], ["cat", "x", "nothing"]])
def test_output_that_cannot_be_written_is_an_error_in_one_line(serve: Serve, tmp_path: Path, words: list[str]) -> None:
    script, url = serve()
    script.put("x", server1=TEXT, server2=TEXT)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [ACCORD, *words], cwd=tmp_path, env=environment(url), stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == "accord: the output: No space left on device\n"


def test_a_closed_stdout_is_no_traceback(serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    script.put("x", server1=TEXT, server2=TEXT)
    done = subprocess.run(
        ["sh", "-c", f"'{ACCORD}' get x >&-"], cwd=tmp_path, env=environment(url), stderr=subprocess.PIPE, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "x").read_bytes() == TEXT


def test_ls_folds_folders_unless_told_to_look_into_them(accord: Run, serve: Serve) -> None:
    script, url = serve()
    script.put("docs/a.txt", server1=TEXT, server2=TEXT)
    script.put("docs/b.txt", server1=TEXT)
    script.put("hello.txt", server1=b"1", server2=b"2")
    names = [line.split()[3] for line in accord("ls", url=url).stdout.splitlines()]
    assert names == ["docs/", "hello.txt"]
    names = [line.split()[-1] for line in accord("ls", "-r", url=url).stdout.splitlines()]
    assert names == ["docs/a.txt", "docs/b.txt", "hello.txt"]
    names = [line.split()[-1] for line in accord("ls", "docs/", "--only", "partial", url=url).stdout.splitlines()]
    assert names == ["docs/b.txt"]
    lines = [json.loads(line) for line in accord("ls", "--json", url=url).stdout.splitlines()]
    assert lines[0] == {"folder": "docs/", "files": 2, "verdicts": {"identical": 1, "partial": 1}}
    names = [line.split()[3] for line in accord("ls", "--only", "partial", url=url).stdout.splitlines()]
    assert names == ["docs/"]
    assert "mixed       docs/  [1 identical, 1 partial]" in accord("ls", url=url).stdout
    assert lines[1]["verdict"] == "diverged"


def test_ls_of_a_file_and_of_nothing(accord: Run, serve: Serve) -> None:
    script, url = serve()
    script.put("hello.txt", server1=TEXT, server2=TEXT)
    assert accord("ls", "hello.txt", url=url).stdout.split() == ["14", "B", "identical", "hello.txt"]
    assert accord("ls", "nothing", url=url).returncode == 5


def test_ls_says_when_it_is_not_all(accord: Run, serve: Serve) -> None:
    script, url = serve()
    script.put("hello.txt", server1=TEXT, server2=TEXT)
    script.listing_silent = ("server2",)
    done = accord("ls", url=url)
    assert done.returncode == 3
    assert "could not ask server2" in done.stderr
    script.cut_listing = True
    done = accord("ls", url=url)
    assert done.returncode == 3
    assert "cut off" in done.stderr


def test_ls_names_each_silence_once(accord: Run, serve: Serve) -> None:
    script, url = serve()
    for name in "abc":
        script.put(name, server1=TEXT, server2=SILENT)
    script.put("d", server1=TEXT, server2=Checking(1, 2))
    done = accord("ls", url=url)
    assert "server2" not in done.stdout
    assert done.stderr.splitlines() == [
        "accord: server2 did not answer about 3 files (no answer in time)",
        "accord: server2 is still hashing 1 file",
    ]


def test_a_copy_still_hashed_is_no_server_that_could_not_be_asked(accord: Run, serve: Serve) -> None:
    script, url = serve()
    script.put("x", server1=TEXT, server2=Checking(1, 2))
    done = accord("stat", "x", url=url)
    assert done.returncode == 3
    assert "still being hashed on server2 (1 of 2 bytes hashed)" in done.stdout
    assert "could not ask" not in done.stdout


def test_cat_of_rivals_says_who_may_have_one_more(accord: Run, serve: Serve) -> None:
    script, url = serve(Script(names=("a", "b", "c")))
    script.put("x", a=b"1", b=b"2", c=SILENT)
    done = accord("cat", "x", url=url)
    assert (done.returncode, done.stdout) == (6, "")
    assert "could not ask c (no answer in time), which may have another version" in done.stderr


def test_diff_of_what_is_not_known_says_it_once(accord: Run, serve: Serve) -> None:
    script, url = serve()
    script.put("x", server2=SILENT)
    done = accord("diff", "x", url=url)
    assert done.returncode == 3
    assert done.stderr.lower().count("known whether") == 1


def test_stat_and_ls_tell_the_same_of_a_version(accord: Run, serve: Serve) -> None:
    script, url = serve()
    script.put("x", server1=TEXT, server2=TEXT)
    version = json.loads(accord("stat", "x", "--json", url=url).stdout)["versions"][0]
    assert (version["author"], version["modified"]) == ("server1", "2023-11-14T22:13:20.123456Z")


def test_diff_shows_lines(accord: Run, serve: Serve) -> None:
    script, url = serve()
    script.put("notes.txt", server1=b"same\none\n", server2=b"same\ntwo")
    done = accord("diff", "notes.txt", "server1", "server2", url=url)
    assert done.returncode == 6
    assert done.stdout.splitlines() == [
        "--- notes.txt (server1)",
        "+++ notes.txt (server2)",
        "@@ -1,2 +1,2 @@",
        " same",
        "-one",
        "+two",
        "\\ No newline at end of file",
    ]


def test_diff_of_what_is_no_text_shows_sizes_and_digests(accord: Run, serve: Serve) -> None:
    script, url = serve()
    script.put("cat.png", server1=b"\x89PNG\0", server2=b"\x89PNG\0\0")
    done = accord("diff", "cat.png", url=url)
    assert done.returncode == 6
    assert "5 bytes" in done.stdout
    assert str(digest_of(b"\x89PNG\0\0")) in done.stdout


def test_diff_of_three_compares_each_with_the_first(accord: Run, serve: Serve) -> None:
    script, url = serve(Script(names=("a", "b", "c")))
    script.put("x", a=b"1\n", b=b"2\n", c=b"3\n")
    value = json.loads(accord("diff", "x", "--json", url=url).stdout)
    first = value["versions"][0] if "versions" in value else value["differences"][0]["old"]
    assert [one["old"]["label"] for one in value["differences"]] == [first["label"]] * 2


def test_diff_says_who_may_have_one_more(accord: Run, serve: Serve) -> None:
    script, url = serve(Script(names=("a", "b", "c")))
    script.put("x", a=b"1\n", b=b"2\n", c=SILENT)
    done = accord("diff", "x", url=url)
    assert done.returncode == 6
    assert "could not ask c" in done.stderr
    assert accord("diff", "x", "a", "b", url=url).stderr == ""
    assert accord("diff", "nothing", url=url).stderr.count("File Not Found") == 1


def test_diff_of_one_version(accord: Run, serve: Serve) -> None:
    script, url = serve()
    script.put("same", server1=TEXT, server2=TEXT)
    script.put("half", server1=TEXT, server2=SILENT)
    assert accord("diff", "same", url=url).returncode == 0
    assert accord("diff", "half", url=url).returncode == 3
    assert accord("diff", "nothing", url=url).returncode == 5
    assert accord("diff", "same", "server1", url=url).returncode == 2
    assert accord("diff", "same", "server1", "nobody", url=url).returncode == 2


def test_diff_takes_servers_and_digests(accord: Run, serve: Serve) -> None:
    script, url = serve(Script(names=("server1", "server2", "server3")))
    script.put("x", server1=b"1\n", server2=b"2\n")
    done = accord("diff", "x", "server2", digest_of(b"1\n").hex()[:12], url=url)
    assert (done.returncode, done.stdout.splitlines()[-2:]) == (6, ["-2", "+1"])
    done = accord("diff", "x", "serverx", "server1", url=url)
    assert done.returncode == 2
    assert (
        "'serverx' is neither one of the servers (server1, server2, server3) nor the digest of a current" in done.stderr
    )
    done = accord("diff", "x", "server3", "server1", url=url)
    assert (done.returncode, "server3 has none of the current versions" in done.stderr) == (2, True)


def test_contents_play_no_tricks_on_a_terminal(serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    script.put("x\u202egnp.txt", server1=b"\x1b]0;owned\x07\n", server2=b"fine\n")
    ours, theirs = pty.openpty()
    with subprocess.Popen([ACCORD, "diff", "x\u202egnp.txt"], env=environment(url), stdout=theirs) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    assert process.returncode == 6
    assert b"\x1b" not in shown
    assert b"\\x1b]0;owned\\x07" in shown
    assert b"x\\u202egnp.txt" in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["gte", "x"], 'Did you mean "get"'),
        (["get"], "PATH"),
        (["get", "x", "--servr", "y"], "--servr"),
        (["ls", "--only", "odd"], "odd"),
        (["serve", "--name", "s1"], "Name a directory, or a configuration file with --config"),
        (["get", "x", "--timeout", "0"], "--timeout"),
        (["get", "x", "--server", "localhost"], "server address"),
    ],
)
def test_a_usage_error_is_a_sentence_and_exit_2(accord: Run, words: list[str], says: str) -> None:
    done = accord(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "Available commands" not in done.stderr


def test_the_version(accord: Run) -> None:
    done = accord("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("accord ")

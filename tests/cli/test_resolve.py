"""`accord resolve` as a process: what is chosen, what is sent, and what is left alone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import ACCORD, Run, environment
from tests.client.scripted import DELETED, SILENT, Serve, digest_of
from tests.client.writable import Writable

MIDDLE = b"".join(b"line %d\n" % number for number in range(9))
BASE = b"one\n" + MIDDLE + b"two\n"
MINE = b"ONE\n" + MIDDLE + b"two\n"
YOURS = b"one\n" + MIDDLE + b"TWO\n"
CLASH = b"1\n" + MIDDLE + b"two\n"


def disputed(one: bytes, other: bytes, base: bytes | None) -> Writable:
    script = Writable()
    script.put("notes.txt", server1=one, server2=other)
    if base is not None:
        script.happened("notes.txt", base)
        script.kept.append(base)
    edges = [str(digest_of(base))] if base is not None else []
    for content, name in ((one, "server1"), (other, "server2")):
        script.happened("notes.txt", content, supersedes=edges, servers=[name], current=True)
    return script


def short(content: bytes) -> str:
    return digest_of(content).hex()[:12]


@pytest.mark.parametrize(
    ("word", "kept"),
    [("server2", b"longer"), ("largest", b"longer"), (str(digest_of(b"one")), b"one"), (short(b"one"), b"one")],
)
def test_keep(accord: Run, serve: Serve, word: str, kept: bytes) -> None:
    script, url = serve(disputed(b"one", b"longer", None))
    done = accord("resolve", "notes.txt", "--keep", word, url=url)
    assert done.returncode == 0
    holder = "server1" if kept == b"one" else "server2"
    assert done.stdout == f"notes.txt: kept {short(kept)} of {holder}; stored on server1, server2\n"
    (got,) = script.received
    assert got.fields["Accord-Source"] == f"/files/notes.txt?version=blake3%3A{digest_of(kept).hex()}"
    assert got.fields["Accord-Context"] == "token"
    assert got.fields["Accord-Message"].startswith("kept%20")
    assert "%40" in got.fields["Accord-Author"]
    assert not got.body


def test_keep_deleted_and_dry_run(accord: Run, serve: Serve) -> None:
    script, url = serve(disputed(b"one", b"two", None))
    assert accord("resolve", "notes.txt", "--keep", "server1", "--dry-run", url=url).stdout.endswith(
        "nothing was changed\n"
    )
    assert script.received == []
    done = accord("resolve", "notes.txt", "--keep", "deleted", "-m", "wrong", "--json", url=url)
    assert json.loads(done.stdout)["written"]["digest"] is None
    assert (script.received[0].method, script.received[0].fields["Accord-Message"]) == ("DELETE", "wrong")


@pytest.mark.parametrize("word", ["newest", "largest"])
def test_of_two_that_are_alike_none_is_picked(accord: Run, serve: Serve, word: str) -> None:
    script, url = serve(disputed(b"one", b"two", None))
    done = accord("resolve", "notes.txt", "--keep", word, url=url)
    assert (done.returncode, f"is the {word}" in done.stderr) == (6, True)
    assert script.received == []


def test_a_file_that_nobody_has_is_not_found(accord: Run, serve: Serve) -> None:
    script, url = serve(Writable())
    assert accord("resolve", "nothing", "--keep", "newest", url=url).returncode == 5
    script.put("notes.txt", server1=DELETED, server2=DELETED)
    assert accord("resolve", "notes.txt", "--keep", "newest", url=url).returncode == 5
    script.copies["notes.txt"] = {"server1": None, "server2": SILENT}
    assert accord("resolve", "notes.txt", "--keep", "newest", url=url).returncode == 3


@pytest.mark.parametrize("word", ["server3", "server9", "0123456789ab", "oldest"])
def test_what_is_no_rival_is_not_kept(accord: Run, serve: Serve, word: str) -> None:
    script, url = serve(disputed(b"one", b"two", None))
    done = accord("resolve", "notes.txt", "--keep", word, url=url)
    assert done.returncode == 2
    assert (
        f"'{word}' is neither one of the servers (server1, server2) nor the digest of a current version" in done.stderr
    )
    assert script.received == []


def test_the_words_must_say_one_thing(accord: Run, serve: Serve) -> None:
    script, url = serve(disputed(b"one", b"two", None))
    for words in ((), ("--keep", "newest", "--merge"), ("--keep", "newest", "--markers")):
        assert accord("resolve", "notes.txt", *words, url=url).returncode == 2
    script.put("fine.txt", server1=b"x", server2=b"x")
    done = accord("resolve", "fine.txt", "--keep", "server1", url=url)
    assert (done.returncode, "no rival versions" in done.stderr) == (1, True)


def test_file_and_stdin(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve(disputed(b"one", b"two", None))
    (tmp_path / "mine").write_bytes(b"three")
    assert accord("resolve", "notes.txt", "--file", "mine", url=url).returncode == 0
    script.put("notes.txt", server1=b"one", server2=b"two")
    words = [ACCORD, "resolve", "notes.txt", "--file", "-"]
    done = subprocess.run(words, cwd=tmp_path, env=environment(url), input=b"four", capture_output=True, timeout=60)
    assert done.returncode == 0
    assert [one.body for one in script.received] == [b"three", b"four"]
    assert all(one.fields["Accord-Context"] == "token" for one in script.received)


def test_merge_puts_both_sides_together(accord: Run, serve: Serve) -> None:
    script, url = serve(disputed(MINE, YOURS, BASE))
    done = accord("resolve", "notes.txt", "--merge", url=url)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "notes.txt: merged server1 and server2; stored on server1, server2\n"
    assert script.received[0].body == b"ONE\n" + MIDDLE + b"TWO\n"


def test_a_conflict_writes_nothing_unless_markers_are_wanted(accord: Run, serve: Serve) -> None:
    script, url = serve(disputed(MINE, CLASH, BASE))
    done = accord("resolve", "notes.txt", "--merge", url=url)
    assert done.returncode == 6
    assert "change the same lines in 1 place" in done.stderr
    assert script.received == []
    done = accord("resolve", "notes.txt", "--merge", "--markers", url=url)
    assert done.returncode == 0
    assert script.received[0].body == (b"<<<<<<< server1\nONE\n=======\n1\n>>>>>>> server2\n" + MIDDLE + b"two\n")


def test_without_an_ancestor_nothing_is_merged_unless_markers_are_wanted(accord: Run, serve: Serve) -> None:
    script, url = serve(disputed(MINE, YOURS, None))
    done = accord("resolve", "notes.txt", "--merge", url=url)
    assert done.returncode == 6
    assert "no ancestor" in done.stderr
    assert script.received == []
    assert accord("resolve", "notes.txt", "--merge", "--markers", url=url).returncode == 0
    assert script.received[0].body.startswith(b"<<<<<<< server1\nONE\n=======\none\n>>>>>>> server2\n")  # type: ignore[union-attr]


@pytest.mark.parametrize("other", [b"\xff\xfe", b"a\0b"])
def test_only_text_is_merged(accord: Run, serve: Serve, other: bytes) -> None:
    script, url = serve(disputed(MINE, other, BASE))
    done = accord("resolve", "notes.txt", "--merge", url=url)
    assert (done.returncode, "only text is merged" in done.stderr) == (6, True)
    assert script.received == []


def test_a_deletion_cannot_be_merged(accord: Run, serve: Serve) -> None:
    script, url = serve(Writable())
    script.put("notes.txt", server1=MINE, server2=DELETED)
    done = accord("resolve", "notes.txt", "--merge", url=url)
    assert (done.returncode, "is a deletion" in done.stderr) == (6, True)


def test_a_pattern_resolves_what_is_disputed_and_nothing_else(accord: Run, serve: Serve) -> None:
    script, url = serve(Writable())
    for path in ("p/a.txt", "p/b.txt", "p/q/c.txt", "p/d.bin", "r.txt"):
        script.put(path, server1=b"one", server2=b"two")
    script.put("p/same.txt", server1=b"x", server2=b"x")
    done = accord("resolve", "p/*.txt", "--keep", "server1", "--dry-run", url=url)
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["p/a.txt", "p/b.txt"]
    done = accord("resolve", "p/**", "--keep", "server1", "--json", url=url)
    assert done.returncode == 0
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == [
        "p/a.txt",
        "p/b.txt",
        "p/d.bin",
        "p/q/c.txt",
    ]
    assert accord("resolve", "p/**", "--keep", "server1", url=url).returncode == 5


def test_a_pattern_tells_who_could_not_be_asked_for_theirs(accord: Run, serve: Serve) -> None:
    script, url = serve(Writable())
    script.put("p/a.txt", server1=b"one", server2=b"two")
    script.listing_silent = ("server2",)
    done = accord("resolve", "p/*", "--keep", "server1", "--dry-run", url=url)
    assert (done.returncode, "could not ask server2" in done.stderr) == (3, True)
    done = accord("resolve", "q/*", "--keep", "server1", url=url)
    assert (done.returncode, "could not ask server2" in done.stderr) == (3, True)


def test_undo_makes_the_rivals_rivals_again(accord: Run, serve: Serve) -> None:
    """The scripted server knows no clocks, so that only what is sent is looked at here: each rival, with what is seen now."""
    script, url = serve(Writable())
    for content in (b"one", b"two"):
        script.happened("notes.txt", content)
    edges = [str(digest_of(b"one")), str(digest_of(b"two"))]
    script.happened("notes.txt", b"one", "resolve", supersedes=edges, message="kept one", current=True)
    script.put("notes.txt", server1=b"one", server2=b"one", server3=b"two")
    script.names = ("server1", "server2")
    done = accord("resolve", "notes.txt", "--undo", "--dry-run", url=url)
    assert done.returncode == 0
    assert "took back 'kept one'" in done.stdout
    assert script.received == []


def test_there_must_be_a_choice_to_undo(accord: Run, serve: Serve) -> None:
    script, url = serve(Writable())
    script.put("notes.txt", server1=b"one", server2=b"one")
    script.happened("notes.txt", b"one", current=True)
    done = accord("resolve", "notes.txt", "--undo", url=url)
    assert (done.returncode, "no choice to take back" in done.stderr) == (1, True)
    script.events["notes.txt"] = []
    script.happened("notes.txt", b"two", servers=[])
    script.happened("notes.txt", b"one", "resolve", supersedes=[str(digest_of(b"two"))], current=True)
    done = accord("resolve", "notes.txt", "--undo", url=url)
    assert (done.returncode, "Nobody keeps" in done.stderr) == (5, True)

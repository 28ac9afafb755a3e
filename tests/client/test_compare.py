"""Two sides compared: what is told of each path, in which order, whatever the sides are made of."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.client.compare import LONG_BYTES, MAX_RUN_PAIRS, Comparing, compare, pairs
from accord.client.results import ServerReport, Verdict, Version
from accord.client.sides import Entry, Place, local_entries, place_of, served_entries
from accord.client.source import Progress
from accord.errors import AccordError, Unavailable, UsageError
from accord.model.names import FilePath, ServerName
from accord.model.verdict import Kind, State
from tests.client.scripted import digest_of

COMPARING = Comparing(jobs=4)


def write(root: Path, files: dict[str, bytes]) -> Path:
    root.mkdir(exist_ok=True)
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def told(left: Path, right: Path, comparing: Comparing = COMPARING) -> list[tuple[str, str]]:
    return [(one.path, one.result) for one in compare(local_entries(left), local_entries(right), comparing)]


_NAMES = st.sampled_from(["a", "a.b", "a-b", "é", "z", "😀"])
_PATHS = st.one_of(_NAMES, st.tuples(_NAMES, _NAMES).map("/".join))
_TREES = st.dictionaries(_PATHS, st.sampled_from([b"", b"1", b"2", b"22"]), max_size=8)


def consistent(tree: dict[str, bytes]) -> dict[str, bytes]:
    """Without files where others need folders."""
    folders = {path.split("/")[0] for path in tree if "/" in path}
    return {path: content for path, content in tree.items() if path not in folders}


@settings(max_examples=60)
@given(_TREES.map(consistent), _TREES.map(consistent))
def test_it_is_what_two_dictionaries_tell(
    tmp_path_factory: pytest.TempPathFactory, left: dict[str, bytes], right: dict[str, bytes]
) -> None:
    root = tmp_path_factory.mktemp("sides")
    expected = []
    for path in sorted(left.keys() | right.keys(), key=str.encode):
        if path not in right:
            expected.append((path, "only left"))
        elif path not in left:
            expected.append((path, "only right"))
        else:
            expected.append((path, "same" if left[path] == right[path] else "differs"))
    assert told(write(root / "left", left), write(root / "right", right)) == expected


def test_many_files_and_long_ones_in_order(tmp_path: Path) -> None:
    """More than one thread's work, some of it long: the order is that of the paths all the same."""
    long = bytes(LONG_BYTES + 1)
    files = {f"{number:04}": long if number % 50 == 7 else b"x" for number in range(3 * MAX_RUN_PAIRS)}
    left, right = write(tmp_path / "left", files), write(tmp_path / "right", files)
    (right / "0007").write_bytes(long[:-1] + b"1")
    (right / "0100").write_bytes(b"y")
    found = told(left, right)
    assert [path for path, _ in found] == sorted(files)
    assert [path for path, result in found if result == "differs"] == ["0007", "0100"]


def test_nothing_is_read_where_sizes_tell(tmp_path: Path) -> None:
    left, right = write(tmp_path / "left", {"a": b"1", "b": b"22"}), write(tmp_path / "right", {"a": b"2", "b": b"1"})
    (one, other) = compare(local_entries(left), local_entries(right), COMPARING)
    assert (one.result, one.left and one.left.digest) == ("differs", digest_of(b"1"))
    assert (other.result, other.left and other.left.digest) == ("differs", None)
    assert told(left, right, Comparing(jobs=1, size_only=True)) == [("a", "same"), ("b", "differs")]


def test_what_is_no_file_is_named_with_its_reason(tmp_path: Path) -> None:
    left, right = write(tmp_path / "left", {"a": b"1", "l": b"1"}), write(tmp_path / "right", {"a": b"1"})
    (right / "l").symlink_to("a")
    (left / "up").symlink_to("..")
    os.mkfifo(left / "fifo")
    (left / "two\nlines").touch()
    (left / os.fsdecode(b"bad\xff")).touch()
    (left / ".accord").mkdir()
    (left / ".accord" / "index").touch()
    (left / "sub" / ".accord").mkdir(parents=True)
    (left / "sub" / ".accord" / "index").touch()
    (left / "sub" / f".notes.txt.{'0' * 64}.accord-part").touch()
    found = {one.path: one for one in compare(local_entries(left), local_entries(right), COMPARING)}
    assert {path: one.result for path, one in found.items()} == {
        "a": "same",
        "bad\\xff": "error",
        "fifo": "error",
        "l": "error",
        "two\nlines": "error",
        "up": "error",
    }
    assert found["l"].reason == f"{right}/l is a link"
    assert found["fifo"].reason == f"{left}/fifo is no regular file"
    assert "UTF-8" in str(found["bad\\xff"].reason)
    assert {one.exit_code for one in found.values()} == {0, 1}


def test_a_file_that_goes_away_is_no_crash(tmp_path: Path) -> None:
    left, right = write(tmp_path / "left", {"a": b"1"}), write(tmp_path / "right", {"a": b"1"})

    def entries() -> Iterator[Entry]:
        for entry in local_entries(left):
            yield entry
            (left / "a").unlink()

    (one,) = compare(entries(), local_entries(right), COMPARING)
    assert (one.result, one.reason, one.exit_code) == ("error", f"{left}/a: No such file or directory", 1)


def test_a_folder_that_cannot_be_read_is_one_error(tmp_path: Path) -> None:
    """Its files on the other side are not told to be missing: nobody knows."""
    closed = Entry(b"b/", reason="closed", is_error=True, exit_code=1)
    left = [Entry(b"a", 1), closed, Entry(b"c", 1)]
    right = [Entry(b"a", 2), Entry(b"b.txt", 2), Entry(b"b/1", 2), Entry(b"b/2", 2), Entry(b"c", 2)]
    expected = [("a", 2), ("b.txt", 1), ("b/", 1), ("c", 2)]
    assert [(pair.path, len([side for side in pair if side])) for pair in pairs(left, right)] == expected
    assert [(pair.path, len([side for side in pair if side])) for pair in pairs(right, left)] == expected


def test_a_folder_too_deep_to_be_opened_is_named(tmp_path: Path) -> None:
    deep, folder = 18, os.open(write(tmp_path / "left", {"z": b"1"}), os.O_RDONLY)
    for _ in range(deep):
        os.mkdir("d" * 250, dir_fd=folder)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    found = list(local_entries(tmp_path / "left"))
    assert [entry.is_error for entry in found] == [True, False]
    assert str(found[0].reason).endswith("File name too long")


def test_what_came_before_a_failure_is_told(tmp_path: Path) -> None:
    def broken() -> Iterator[Entry]:
        yield Entry(b"a", 1, digest_of(b"1"))
        raise Unavailable("It broke off.")

    found = compare(broken(), [Entry(b"0", 1), Entry(b"b", 1)], COMPARING)
    assert [next(found).path] == ["0"]
    with pytest.raises(Unavailable):
        next(found)


@pytest.mark.timeout(60)
def test_the_end_of_a_comparison_ends_its_threads(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a file of a terabyte does not wait for its end."""
    left, right = write(tmp_path / "left", {"next": b""}), write(tmp_path / "right", {"next": b""})
    for side in (left, right):
        (side / "long").touch()
        os.truncate(side / "long", 1 << 40)
    begun = threading.Event()

    class Interrupted(Exception):
        pass

    def entries() -> Iterator[Entry]:
        yield from local_entries(left)
        assert begun.wait(30)
        raise Interrupted

    @contextmanager
    def watch(name: str, _size_bytes: int) -> Iterator[Progress]:
        yield lambda _done, _total: begun.set() if name == "long" else None

    with pytest.raises(Interrupted):
        list(compare(entries(), local_entries(right), Comparing(jobs=2, watch=watch)))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("accord-compare")]


REPORTS = {
    "current": ServerReport(ServerName("s1"), State.CURRENT, digest_of(b"1")),
    "absent": ServerReport(ServerName("s1"), State.ABSENT),
    "rival": ServerReport(ServerName("s1"), State.RIVAL, digest_of(b"1")),
    "stale": ServerReport(ServerName("s1"), State.STALE, digest_of(b"0")),
    "damaged": ServerReport(ServerName("s1"), State.DAMAGED, None, "its bytes do not match"),
    "checking": ServerReport(ServerName("s1"), State.CHECKING),
}


@pytest.mark.parametrize(
    ("kind", "state", "served", "own"),
    [
        (Kind.IDENTICAL, "current", b"1", b"1"),
        (Kind.PARTIAL, "absent", b"1", None),
        (Kind.STALE, "stale", b"1", b"0"),
        (Kind.PARTIAL, "damaged", b"1", "s1: damaged, its bytes do not match"),
        (Kind.UNVERIFIED, "checking", b"1", "s1: still being hashed"),
        (Kind.DIVERGED, "rival", "2 rival versions, on s1", "2 rival versions, on s1"),
        (Kind.DIVERGED, "absent", "2 rival versions", None),
        (Kind.DAMAGED, "damaged", "every copy is damaged", "s1: damaged, its bytes do not match"),
        (Kind.UNKNOWN, "checking", "not known whether it exists: s1 did not answer", "s1: still being hashed"),
        (Kind.DELETED, "absent", None, None),
    ],
)
def test_what_a_server_has(kind: Kind, state: str, served: bytes | str | None, own: bytes | str | None) -> None:
    versions = [Version(digest_of(b"1"), 1), Version(digest_of(b"2"), 1)][
        : {Kind.DIVERGED: 2, Kind.UNKNOWN: 0}.get(kind, 1)
    ]
    verdict = Verdict(FilePath("sub/x"), kind, tuple(versions), (REPORTS[state],))
    for name, expected in ((None, served), ("s1", own)):
        found = list(served_entries([verdict], "sub/", name))
        match expected:
            case None:
                assert found == []
            case bytes():
                assert [(one.raw, one.digest, one.reason) for one in found] == [(b"x", digest_of(expected), None)]
            case _:
                assert [(one.raw, one.reason) for one in found] == [(b"x", expected)]


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://h:1", Place("http://h:1", "")),
        ("http://h:1/", Place("http://h:1", "")),
        ("http://h:1/files", Place("http://h:1", "")),
        ("http://h:1/files/", Place("http://h:1", "")),
        ("http://h:1/files/a/b", Place("http://h:1", "a/b")),
        ("https://h/list/a%20%C3%A4/", Place("https://h", "a ä/")),
        ("http://h/behind/files/a", Place("http://h/behind", "a")),
        ("http://h/list/files/a/", Place("http://h", "files/a/")),
        ("./http://h", None),
        ("folder", None),
    ],
)
def test_where_a_server_side_begins(url: str, place: Place | None) -> None:
    assert place_of(url) == place


@pytest.mark.parametrize("url", ["http://[/", "http://h/files/a?b", "http://h/files/a#b", "http://h/files/%ff"])
def test_what_is_no_place(url: str) -> None:
    with pytest.raises(UsageError):
        place_of(url)


def test_a_root_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(AccordError, match="No such file"):
        list(local_entries(tmp_path / "nothing"))

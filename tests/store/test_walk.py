"""Walking: the order of UTF-8 bytes, from any path on, in bounded memory."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
import tracemalloc
import unicodedata
from pathlib import Path

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import InvalidPath, StoreFailed
from accord.model.names import FilePath, Prefix, ServerName
from accord.model.verdict import State, Verdict
from accord.server.listing import Merge, in_threads
from accord.store.confinement import Confinement
from accord.store.survey import Survey, collisions
from accord.store.walk import RUN_FILES, stat_in, walk_runs
from accord.testing.conformance import listed, present
from tests.server.fakes import streamed
from tests.store.disks import SERVER, open_disk
from tests.verdicts import state_of

names = st.text(st.sampled_from("a.-0/é\uffff😀b"), min_size=1, max_size=3)
trees = st.lists(st.lists(names, min_size=1, max_size=4).map("/".join), max_size=25)


def paths(root: Path, prefix: str = "", after: str | None = None) -> list[str]:
    beneath = Confinement(root)
    try:
        return [path for run in walk_runs(beneath, prefix, after) for path in run.paths]
    finally:
        beneath.close()


def deny(monkeypatch: pytest.MonkeyPatch, folder: str, code: int) -> None:
    """Opening `folder` fails, as it would for a server that is not root."""
    open_folder = Confinement.open_folder

    def denied(self: Confinement, wanted: str) -> int:
        if wanted == folder:
            raise OSError(code, os.strerror(code))
        return open_folder(self, wanted)

    monkeypatch.setattr(Confinement, "open_folder", denied)


@settings(max_examples=60)
@given(trees, names, st.booleans())
def test_the_order_is_that_of_sorted_bytes(wanted: list[str], cursor: str, deep: bool) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        made = set()
        for text in wanted:
            try:
                path = FilePath(text)
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).touch(exist_ok=True)
            except (InvalidPath, OSError):
                continue
            if (root / path).is_file():
                made.add(str(path))
        ordered = sorted(made, key=str.encode)
        assert paths(root) == ordered
        cursor = ordered[len(ordered) // 2] if deep and ordered else cursor
        assert paths(root, "", cursor) == [path for path in ordered if path.encode() > cursor.encode()]
        assert paths(root, "a/") == [path for path in ordered if path.startswith("a/")]
    finally:
        shutil.rmtree(root)


def test_what_is_no_path_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".accord").mkdir()
    (tmp_path / ".accord" / "index.db").touch()
    (tmp_path / "with\nbreak").touch()
    (tmp_path / "back\\slash").touch()
    (tmp_path / "link").symlink_to("plain")
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "plain").touch()
    with open(os.fsencode(tmp_path) + b"/\xff\xfe", "w"):
        pass
    os.mkfifo(tmp_path / "fifo")
    assert paths(tmp_path) == ["plain"]


def test_depth_costs_no_file_descriptors(tmp_path: Path) -> None:
    deep = "/".join(["d"] * 1200) + "/file"
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)
    beneath = Confinement(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    (run,) = walk_runs(beneath)
    assert run.paths == [deep]
    assert len(os.listdir("/proc/self/fd")) == before
    beneath.close()
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # deeper than Python removes


def test_a_hundred_thousand_files_in_bounded_memory(tmp_path: Path) -> None:
    for folder in range(100):
        (tmp_path / f"{folder:03}").mkdir()
        at = os.open(tmp_path / f"{folder:03}", os.O_RDONLY)
        for number in range(1000):
            os.close(os.open(f"{number:04}", os.O_CREAT | os.O_WRONLY, dir_fd=at))
        os.close(at)
    beneath = Confinement(tmp_path)
    tracemalloc.start()
    count, longest = 0, 0
    for run in walk_runs(beneath):
        count += len(run.paths)
        longest = max(longest, len(run.paths))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    beneath.close()
    assert (count, longest) == (100_000, RUN_FILES)
    assert peak_bytes < 2 * 1024 * 1024


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.EIO])
def test_what_cannot_be_read_is_never_told_to_be_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    for name in ("a/file", "closed/file", "z/file"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    deny(monkeypatch, "closed", code)
    with pytest.raises(StoreFailed, match="'closed/' cannot be read"):
        paths(tmp_path)
    beneath, survey = Confinement(tmp_path), Survey()
    assert [path for run in walk_runs(beneath, survey=survey) for path in run.paths] == ["a/file", "z/file"]
    assert (survey.unreadable, survey.unreadable_examples) == (1, (f"closed/ ({os.strerror(code)})",))
    beneath.close()


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENOTDIR, errno.ELOOP])
def test_what_is_gone_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    (tmp_path / "gone").mkdir()
    (tmp_path / "kept").touch()
    deny(monkeypatch, "gone", code)
    assert paths(tmp_path) == ["kept"]


def test_stat_data_that_cannot_be_had_are_no_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    beneath = Confinement(tmp_path)
    (run,) = walk_runs(beneath)
    run.folder_fd = os.open(tmp_path, os.O_PATH)
    assert stat_in(run, run.paths[0]) is not None
    assert stat_in(run, FilePath("none")) is None

    def refused(*_: object, **__: object) -> os.stat_result:
        raise OSError(errno.EIO, "")

    with monkeypatch.context() as broken:
        broken.setattr("accord.store.walk.os.stat", refused)
        with pytest.raises(StoreFailed):
            stat_in(run, run.paths[0])
    os.close(run.folder_fd)
    beneath.close()


async def test_a_listing_says_of_a_server_that_cannot_read_that_it_did_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("closed/file", "file"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    async with open_disk(tmp_path) as disk:
        assert disk.store._parts.indexing.ended.wait(60)
        assert {one.path for one in listed(disk.store)} == {"closed/file", "file"}
        deny(monkeypatch, "closed", errno.EACCES)
        other = streamed({"closed/file": (await present(disk.store, FilePath("file")))})
        merge = Merge({SERVER: in_threads(disk.store.walk(Prefix(""), None)), ServerName("server2"): other})
        verdicts = [entry async for batch in merge.batches() for _, entry in batch if isinstance(entry, Verdict)]
        assert [(one.path, state_of(one, SERVER)) for one in verdicts] == [("closed/file", State.UNREACHABLE)]
        assert [one.state for one in merge.servers()] == ["unreachable", "answered"]


async def test_the_first_hashing_goes_on_and_says_what_it_could_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("closed/file", "z/file"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    deny(monkeypatch, "closed", errno.EACCES)
    with structlog.testing.capture_logs() as logs:
        async with open_disk(tmp_path) as disk:
            assert disk.store._parts.indexing.ended.wait(60)
            told = disk.store.indexing()
    assert (told.done, told.found_files, told.hashed_files, told.unreadable) == (True, 1, 1, 1)
    events = [line["event"] for line in logs]
    assert "the files are hashed, but some could not be read" in events
    assert "all files are hashed" not in events


async def test_names_that_cannot_be_used_or_collide_are_counted_and_shown(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for number in range(7):
        (tmp_path / "folder" / f"break\n{number}").touch()
    os.mkdir(os.fsencode(tmp_path) + b"/latin-\xe9")
    for name in ("A", "a", "plain", "Caf\u00e9", "cafe\u0301", "STRASSE", "stra\u00dfe", "strasse", "Alone"):
        (tmp_path / name).touch()
    async with open_disk(tmp_path) as disk:
        assert disk.store._parts.indexing.ended.wait(60)
        told = disk.store.indexing()
    assert (told.unnameable, len(told.unnameable_examples)) == (8, 5)
    assert told.unnameable_examples[0] == "latin-\\xe9/"
    assert told.unnameable_examples[1].startswith("folder/break\\n")
    assert (told.colliding, told.colliding_examples) == (
        4,
        (("a", "A"), ("strasse", "STRASSE"), ("Café", "cafe\u0301"), ("strasse", "straße")),
    )


def test_collisions_are_those_of_a_dumb_comparison() -> None:
    names = ["a", "A", "b", "ss", "ß", "SS", "é", "e\u0301", "É", "c", "D"]
    groups = {unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()) for name in names}
    assert len(collisions(names)) == len(names) - len(groups)
    assert collisions(["many", "plain", "names"]) == []

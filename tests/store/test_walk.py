"""Walking: the order of UTF-8 bytes, from any path on, in bounded memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import tracemalloc
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import InvalidPath
from accord.model.names import FilePath
from accord.store.confinement import Confinement
from accord.store.walk import RUN_FILES, walk_runs

names = st.text(st.sampled_from("a.-0/é\uffff😀b"), min_size=1, max_size=3)
trees = st.lists(st.lists(names, min_size=1, max_size=4).map("/".join), max_size=25)


def paths(root: Path, prefix: str = "", after: str | None = None) -> list[str]:
    beneath = Confinement(root)
    try:
        return [path for run in walk_runs(beneath, prefix, after) for path in run.paths]
    finally:
        beneath.close()


@settings(max_examples=60, deadline=None)
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

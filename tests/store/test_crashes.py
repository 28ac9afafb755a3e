"""A crash at every step of a commit, and at every step of mending it, leaves the old or the new, and nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from accord.errors import AccordError
from accord.model.names import FilePath
from accord.model.verdict import Absent, Damaged, Deleted, Known, Present
from accord.model.versions import Actor, merge, write
from accord.store.directory import DirectoryStore
from accord.testing.conformance import (
    DELETION,
    HELLO,
    WAIT_S,
    change_to,
    delete,
    digest_of,
    looked,
    present,
    put,
    take_in,
    theirs,
    version_of,
)

from .crashes import Crash, Steps, abandon
from .disks import DirectoryDisk, open_disk

DEEP = FilePath("new/folders/file")
MANY_STEPS = 60


@dataclass(frozen=True)
class Story:
    """What is done to a store, and what every path may hold afterwards: all before, or all after."""

    prepare: Callable[[DirectoryDisk], Awaitable[object]]
    act: Callable[[DirectoryStore], Awaitable[object]]
    before: dict[FilePath, bytes | None]
    after: dict[FilePath, bytes | None]


async def _nothing(disk: DirectoryDisk) -> None:
    return


async def _old(disk: DirectoryDisk) -> None:
    await put(disk.store, b"old")


async def _found(disk: DirectoryDisk) -> None:
    disk.write(HELLO, b"old")
    await present(disk.store)


async def _deep(disk: DirectoryDisk) -> None:
    await put(disk.store, b"old", DEEP)


async def _rivals(disk: DirectoryDisk) -> None:
    mine = await put(disk.store, b"old")
    answer = await take_in(disk.store, merge(mine.clock, theirs(b"new")), b"new")
    assert isinstance(answer, Present)
    assert answer.aside == (digest_of(b"new"),)


async def _rival_alone(disk: DirectoryDisk) -> None:
    await _rivals(disk)
    disk.remove(HELLO)


async def _damaged(disk: DirectoryDisk) -> None:
    disk.write(HELLO, b"new")
    await present(disk.store)
    disk.rot(HELLO)
    assert isinstance(await disk.store.examine(HELLO, wait_s=WAIT_S, reread=True), Damaged)


async def _write(store: DirectoryStore) -> None:
    await put(store, b"new")


async def _write_deep(store: DirectoryStore) -> None:
    await put(store, b"new", DEEP)


async def _delete_deep(store: DirectoryStore) -> None:
    await delete(store, DEEP)


async def _choose_the_rival(store: DirectoryStore) -> None:
    known = (await looked(store)).clock
    clock = write(known, known.context(), Actor("server2/life"), version_of(b"new"))
    assert await take_in(store, clock)


async def _take_a_rival(store: DirectoryStore) -> None:
    known = (await looked(store)).clock
    assert await take_in(store, merge(known, theirs(b"new")), b"new")


async def _heal(store: DirectoryStore) -> None:
    known = (await looked(store)).clock
    assert await take_in(store, known, b"new")


async def _move(store: DirectoryStore) -> None:
    source, target = (await looked(store)).clock, (await looked(store, DEEP)).clock
    incoming = await store.duplicate(HELLO, digest_of(b"old"))
    assert incoming is not None
    there = change_to(target, version_of(b"old"), store.actor, path=DEEP, incoming=(incoming,))
    assert await store.commit([there, change_to(source, DELETION, store.actor)])


STORIES = {
    "a new file": Story(_nothing, _write, {HELLO: None}, {HELLO: b"new"}),
    "a new file in new folders": Story(_nothing, _write_deep, {DEEP: None}, {DEEP: b"new"}),
    "an overwrite": Story(_old, _write, {HELLO: b"old"}, {HELLO: b"new"}),
    "an overwrite of what was found": Story(_found, _write, {HELLO: b"old"}, {HELLO: b"new"}),
    "a deletion": Story(_deep, _delete_deep, {DEEP: b"old"}, {DEEP: None}),
    "a rival comes aside": Story(_old, _take_a_rival, {HELLO: b"old"}, {HELLO: b"old"}),
    "a rival is chosen": Story(_rivals, _choose_the_rival, {HELLO: b"old"}, {HELLO: b"new"}),
    "the only rival left goes to the path": Story(_rival_alone, _choose_the_rival, {HELLO: None}, {HELLO: b"new"}),
    "a damaged copy is replaced": Story(_damaged, _heal, {HELLO: b"oew"}, {HELLO: b"new"}),
    "a move": Story(_old, _move, {HELLO: b"old", DEEP: None}, {HELLO: None, DEEP: b"old"}),
}


async def _crashed(root: Path, story: Story, fatal: int) -> list[str] | None:
    """The steps up to the crash, or None if there are not as many."""
    async with open_disk(root) as disk:
        await story.prepare(disk)
    steps = Steps()
    async with open_disk(root, step=steps) as disk:
        steps.fatal = fatal
        try:
            await story.act(disk.store)
        except (Crash, AccordError):
            assert steps.have_crashed
        if steps.have_crashed:
            await abandon(disk.store)
            return steps.names
        steps.fatal = None
        return None


async def _crashed_again(root: Path, fatal: int) -> bool:
    """Start-up stops at that step."""
    steps = Steps(fatal)
    try:
        async with open_disk(root, step=steps) as disk:
            steps.fatal = None if not steps.have_crashed else steps.fatal
            await abandon(disk.store)
    except Crash:
        return True
    return False


async def _check(root: Path, story: Story) -> str:
    async with open_disk(root) as disk:
        assert os.listdir(root / ".accord" / "staging") == []
        answers = {path: await looked(disk.store, path) for path in story.before}
        found = {path: disk.content(path) for path in story.before}
        assert found in (story.before, story.after)
        for path, answer in answers.items():
            _is_told_as_it_is(answer, found[path])
            assert not any("/outside/" in dot.actor for dot, _ in answer.clock.current())
            await _nothing_known_is_lost(disk.store, path, answer, found[path])
        if found == story.after and story.before.get(DEEP) is not None:
            assert not (root / "new").exists()  # folders exist by their files
        return "after" if found == story.after else "before"


async def _check_what_is_kept(root: Path, story: Story) -> None:
    """In a month, nothing is left of history, nor of what the crash left: only rivals."""
    in_31_days = time.time_ns() + 31 * 86_400 * 10**9
    async with open_disk(root, now_ns=lambda: in_31_days) as disk:
        answers = [await looked(disk.store, path) for path in story.before]
        for _ in range(260):
            await disk.store.expire()
        aside = {digest for answer in answers if not isinstance(answer, Deleted) for digest in answer.aside}
        kept = {file.name for file in (root / ".accord" / "versions").glob("*/*")}
        assert kept == {digest.hex() for digest in aside if digest is not None}


def _is_told_as_it_is(answer: Known, content: bytes | None) -> None:
    if content is None:
        assert isinstance(answer, Absent | Deleted)
    elif isinstance(answer, Present):
        assert answer.digest == digest_of(content)
    else:
        assert isinstance(answer, Damaged)


async def _nothing_known_is_lost(store: DirectoryStore, path: FilePath, answer: Known, content: bytes | None) -> None:
    """What the clock calls current is there, at the path or aside; but for what other programs removed or spoilt."""
    held = {answer.digest} if isinstance(answer, Present) else set()
    if not isinstance(answer, Deleted):
        held |= set(answer.aside)
    for _, version in answer.clock.current():
        if version.digest == digest_of(b"new"):
            assert version.digest in held or isinstance(answer, Damaged)
    for one in await store.history(path):
        if one.is_kept and one.event.version.digest is not None:
            copy = await store.open_version(path, one.event.version.digest)
            assert copy is not None
            assert digest_of(await copy.read(0, 100)) == copy.answer.digest
            copy.close()


@pytest.mark.parametrize("name", STORIES)
async def test_a_crash_at_any_step_leaves_the_old_or_the_new(tmp_path: Path, name: str) -> None:
    story, seen = STORIES[name], set()
    for fatal in range(1, MANY_STEPS):
        root = tmp_path / str(fatal)
        root.mkdir()
        steps = await _crashed(root, story, fatal)
        seen.add(await _check(root, story))
        await _check_what_is_kept(root, story)
        if steps is None:
            break
    else:
        pytest.fail("there are too many steps to walk all of them")
    assert fatal > 3
    assert "after" in seen


@pytest.mark.parametrize("name", STORIES)
async def test_a_crash_while_a_crash_is_mended_does_no_harm(tmp_path: Path, name: str) -> None:
    """There is something to mend once something has been promised."""
    story = STORIES[name]
    for fatal in range(1, MANY_STEPS):
        for again in range(1, MANY_STEPS):
            root = tmp_path / f"{fatal}-{again}"
            root.mkdir()
            steps = await _crashed(root, story, fatal)
            if steps is None:
                return
            if "promise" not in steps[:-1]:
                break
            is_mended = not await _crashed_again(root, again)
            await _check(root, story)
            if is_mended:
                break
    pytest.fail("there are too many steps to walk all of them")

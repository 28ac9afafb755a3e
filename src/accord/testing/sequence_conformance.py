"""Any sequence of changes, through Accord and behind its back: what every store must still have. Part of the conformance suite."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accord.model.history import Event
from accord.model.names import Digest, FilePath
from accord.model.placement import current_contents
from accord.model.verdict import Deleted, Known, Present
from accord.model.versions import EMPTY_CLOCK, Clock, Version, merge
from accord.store.port import Change, Incoming
from accord.testing.conformance import (
    DELETION,
    OTHER,
    Disk,
    bytes_of,
    change_to,
    committed,
    looked,
    received,
    version_of,
)
from accord.testing.memory_bytes import digest_of

CONTENTS = [b"zero", b"one", b"two", b"three", b"four"]
_BYTES = {digest_of(content): content for content in CONTENTS}
_paths = (FilePath(f"sequence/{number}.txt") for number in count())

_content = st.sampled_from(CONTENTS)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), _content),
        st.tuples(st.just("delete"), st.none()),
        st.tuples(st.just("write elsewhere"), st.one_of(st.none(), _content)),
        st.tuples(st.just("hear"), st.none()),
        st.tuples(st.just("tell"), st.none()),
        st.tuples(st.just("choose"), _content),
        st.tuples(st.just("edit"), _content),
        st.tuples(st.just("edit in place"), _content),
        st.tuples(st.just("lose"), st.none()),
        st.tuples(st.just("reopen"), st.none()),
    ),
    max_size=12,
)


@dataclass
class _Model:
    """What must be true of one path. `apart`: digests whose bytes must be kept, wherever; the one at the path is not among them.
    `other` is what another server knows, and it has all bytes of its own."""

    disk: Disk
    path: FilePath
    apart: set[Digest] = field(default_factory=set)
    clock: Clock = EMPTY_CLOCK
    other: Clock = EMPTY_CLOCK
    events: set[Event] = field(default_factory=set)

    async def step(self, kind: str, content: bytes | None) -> None:
        store, path = self.disk.store, self.path
        match kind:
            case "put" | "delete":
                version = DELETION if kind == "delete" or content is None else version_of(content)
                before = (await self.look()).clock
                await self.commit(change_to(before, version, store.actor, path=path), content)
            case "write elsewhere":
                version = DELETION if content is None else version_of(content)
                self.other = change_to(self.other, version, OTHER).clock
            case "hear":
                before = (await self.look()).clock
                wanted = [_BYTES[digest] for digest in current_contents(self.other)]
                await self.commit(Change(path, before, self.other), *wanted)
            case "tell":
                self.other = merge(self.other, (await self.look()).clock)
            case "choose" if content is not None:
                before = (await self.look()).clock
                chosen = await store.duplicate(path, digest_of(content))
                if chosen is not None:
                    await self.commit(change_to(before, version_of(content), store.actor, path=path), ready=chosen)
            case "edit" | "edit in place" if content is not None:
                await self.look()
                (self.disk.rewrite if kind == "edit in place" and self.there else self.disk.write)(path, content)
                await self.look()
            case "lose":
                if self.there:
                    self.disk.remove(path)
            case "reopen":
                await self.disk.reopen()

    @property
    def there(self) -> bool:
        return self.disk.content(self.path) is not None

    async def look(self) -> Known:
        """Nothing but an outside change makes the clock grow by looking, and nothing makes it forget."""
        answer = await looked(self.disk.store, self.path)
        assert merge(answer.clock, self.clock) == answer.clock
        self.clock = answer.clock
        return answer

    async def commit(self, change: Change, *contents: bytes | None, ready: Incoming | None = None) -> None:
        sent = [await received(self.disk.store, content) for content in contents if content is not None]
        incoming = (*sent, *([] if ready is None else [ready]))
        brought = {one.digest for one in incoming}
        before = await self.look()
        was = before.digest if isinstance(before, Present) else None
        change = Change(change.path, change.before, change.clock, incoming, change.events)
        (done,) = await committed(self.disk.store, change)
        self.clock = merge(self.clock, change.clock)
        assert done.answer.clock == self.clock
        current = current_contents(self.clock)
        self.apart |= brought & current.keys()
        if was is not None:
            self.apart.add(was)
        now = done.answer.digest if isinstance(done.answer, Present) else None
        if was in current:
            assert now == was, "a current version was taken from its path"
        if self.apart & current.keys():
            assert now in current
        if now is not None:
            self.apart.discard(now)

    async def check(self) -> None:
        """Whatever was taken in, and was not overwritten by others at the path, is there; and nothing is claimed that is not."""
        answer = await self.look()
        current: dict[Digest, Version] = current_contents(self.clock)
        claimed = {one for one in getattr(answer, "aside", ()) if one is not None}
        there = answer.digest if isinstance(answer, Present) else None
        assert self.apart & current.keys() - {there} <= claimed <= current.keys() - {there}
        for digest in {*self.apart, *claimed, *(() if there is None else (there,))}:
            assert await bytes_of(self.disk.store, digest, self.path) == _BYTES[digest]
        if there is not None:
            assert self.disk.content(self.path) == _BYTES[there]
        tombstones = [version for _, version in self.clock.current() if version.is_tombstone]
        if isinstance(answer, Present):
            assert (None in answer.aside) == bool(tombstones)
        assert isinstance(answer, Deleted) == bool(tombstones and not current and there is None)
        await self.check_history()

    async def check_history(self) -> None:
        told = await self.disk.store.history(self.path)
        assert len({one.event.dot for one in told}) == len(told)
        assert {one.event.dot for one in told if one.is_current} == {dot for dot, _ in self.clock.current()}
        seen = {(one.event.dot, one.event.version.digest) for one in told}
        assert {(event.dot, event.version.digest) for event in self.events} <= seen
        self.events = {one.event for one in told}
        for one in told:
            digest = one.event.version.digest
            if one.is_kept and digest is not None:
                assert await bytes_of(self.disk.store, digest, self.path) == _BYTES[digest]


class SequenceConformance:
    @given(_steps)
    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
            HealthCheck.too_slow,
        ],
    )
    async def test_no_current_bytes_are_lost_and_superseded_ones_are_kept(
        self, disk: Disk, steps: list[tuple[str, bytes | None]]
    ) -> None:
        model = _Model(disk, next(_paths))
        for kind, content in steps:
            await model.step(kind, content)
            await model.check()

"""Random writes, deletions, outside edits and outages on three whole servers in memory, against a model of what clients were told.

The model knows nothing of clocks. It knows which contents each writer had been shown when it wrote: those it may take the place of, and
nothing else. Every content is written once, so that its digest names the write.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accord.engine.deciding import Refused
from accord.engine.write import Written
from accord.errors import AccordError
from accord.model.names import Digest
from accord.model.verdict import Kind, Verdict
from accord.model.versions import Context
from accord.testing.memory_bytes import digest_of
from tests.engine.servers import PATH, Servers, servers

COUNT = 3
numbers = st.integers(0, COUNT - 1)
operations = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["put", "put", "look", "put seen", "put seen", "delete", "delete seen"]), numbers),
        st.tuples(st.sampled_from(["down", "up", "outside", "vanish", "heal", "replay"]), numbers),
    ),
    min_size=3,
    max_size=25,
)


@dataclass
class Model:
    """What clients were told."""

    acknowledged: set[Digest] = field(default_factory=set)
    may_be_gone: set[Digest] = field(default_factory=set)
    """Contents that a writer, shown them, took the place of; and those that were overwritten on a disk behind Accord's back."""
    shown: dict[int, tuple[Context, set[Digest]]] = field(default_factory=dict)
    on_disk: dict[int, Digest | None] = field(default_factory=dict)

    def wrote(self, written: Written, replaced: set[Digest]) -> None:
        self.may_be_gone |= replaced
        if written.version.digest is not None:
            self.acknowledged.add(written.version.digest)


def contents(verdict: Verdict) -> set[Digest]:
    return {held.version.digest for held in verdict.versions if held.version.digest is not None}


class Run:
    def __init__(self, some: Servers) -> None:
        self.some = some
        self.model = Model()
        self.is_down: set[int] = set()
        self.written = 0

    def new_content(self) -> bytes:
        self.written += 1
        return b"content %d" % self.written

    async def do(self, operation: str, number: int) -> None:
        node, model = self.some[number], self.model
        match operation:
            case "look":
                verdict = await node.verdict()
                model.shown[number] = verdict.seen(), contents(verdict)
            case "put" | "delete":
                shown = contents(await node.verdict())
                await self.attempt(number, operation, None, shown)
            case "put seen" | "delete seen" if number in model.shown:
                seen, shown = model.shown[number]
                await self.attempt(number, operation.split()[0], seen, shown)
            case "down":
                self.is_down.add(number)
                self.some.down(number)
            case "up":
                self.up(number)
            case "outside":
                await self.edit_outside(number)
            case "vanish" if PATH in node.store.files:
                await self.settle_all()
                if PATH in node.store.files:
                    node.store.remove_outside(PATH)
            case "heal":
                await node.updater.update(PATH)
            case "replay":
                await self.some.replay()

    def up(self, number: int) -> None:
        self.is_down.discard(number)
        self.some.up(number)
        for other in self.is_down:
            self.some.down(other)

    async def attempt(self, number: int, deed: str, seen: Context | None, shown: set[Digest]) -> None:
        node = self.some[number]
        try:
            if deed == "put":
                self.model.wrote(await node.put(self.new_content(), seen=seen), shown)
            else:
                self.model.wrote(await node.delete(seen=seen), shown)
        except (Refused, AccordError):
            return  # nothing was acknowledged, and nothing may be gone because of it

    async def edit_outside(self, number: int) -> None:
        """Somebody overwrites a file whose content all others have. What was there is not lost by Accord."""
        await self.settle_all()
        store = self.some[number].store
        before = store.files.get(PATH)
        if before is not None and self.model.on_disk.get(number) == digest_of(before.content):
            self.model.may_be_gone.add(digest_of(before.content))
        content = self.new_content()
        store.put_outside(PATH, content, in_place=True)
        self.model.on_disk[number] = digest_of(content)

    async def settle_all(self) -> None:
        for number in range(COUNT):
            self.up(number)
        for _ in range(2):
            await self.some.replay()
            await self.some.mend()


@given(operations)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
async def test_nothing_acknowledged_is_lost_no_rival_hidden_nothing_comes_back(todo: list[tuple[str, int]]) -> None:
    async with servers(COUNT) as some:
        run = Run(some)
        for operation, number in todo:
            await run.do(operation, number)
        await run.settle_all()
        verdicts = [await node.verdict() for node in some.nodes]
        shown = contents(verdicts[0])
        assert all(contents(verdict) == shown and verdict.kind is verdicts[0].kind for verdict in verdicts)
        assert run.model.acknowledged - run.model.may_be_gone <= shown
        assert verdicts[0].kind in (Kind.IDENTICAL, Kind.DIVERGED, Kind.DELETED, Kind.MISSING)
        for digest in shown:
            for node in some.nodes:
                assert digest_of(await node.content(digest)) == digest
        assert not any(node.store.debts() for node in some.nodes)
        for node in some.nodes:
            assert not node.peers.suggested or verdicts[0].kind is not Kind.MISSING


@pytest.mark.parametrize("first", range(COUNT))
async def test_a_deletion_that_was_seen_by_all_stays_one_whatever_comes_back(first: int) -> None:
    async with servers(COUNT) as some:
        run = Run(some)
        await run.do("put", first)
        await run.do("down", (first + 1) % COUNT)
        await run.do("delete", first)
        await run.do("down", first)
        await run.do("up", (first + 1) % COUNT)
        await run.do("heal", (first + 1) % COUNT)
        await run.settle_all()
        assert {(await node.verdict()).kind for node in some.nodes} == {Kind.DELETED}

"""Servers that find and mend every difference by comparing themselves: all come to the same, at a cost that follows what differs."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accord.engine import comparison, heal_queue, requests, sync
from accord.engine.deciding import Refused
from accord.engine.heal_queue import Urgency
from accord.engine.requests import Requests
from accord.engine.runs import Order
from accord.errors import AccordError, PeerUnreachable
from accord.model.fingerprints import Cut, Summary
from accord.model.names import FilePath, Prefix
from accord.model.verdict import FOLDER, Absent, Kind
from tests.engine import virtual
from tests.engine.servers import KEEP_TOMBSTONES_S, PATH, Servers, servers
from tests.engine.trio import until

DAY_NS = 24 * 3600 * 1_000_000_000


def named(number: int) -> FilePath:
    return FilePath(f"folder{number % 7}/{number:05}.txt")


async def are_alike(some: Servers) -> bool:
    first, *others = await some.fingerprints()
    return all(other == first for other in others)


async def test_what_another_server_has_is_taken_over() -> None:
    async with servers(2) as some:
        for number in range(300):
            await some[1].found(named(number), b"%d" % number)
        told = await some[0].syncer.run(some[1].name)
        assert (told.differing, told.mended, told.failed, told.is_equal) == (300, 300, 0, True)
        assert {path: file.content for path, file in some[0].store.files.items()} == {
            named(number): b"%d" % number for number in range(300)
        }
        assert await are_alike(some)


async def test_what_the_other_lacks_is_left_to_the_other() -> None:
    async with servers(2) as some:
        await some[0].found(PATH, b"mine")
        told = await some[0].syncer.run(some[1].name)
        assert (told.differing, told.is_equal) == (0, True)
        assert not some[1].store.files


async def test_equal_servers_need_one_round_trip() -> None:
    async with servers(2) as some:
        for node in some.nodes:
            for number in range(500):
                await node.found(named(number), b"x")
        await some[0].syncer.run(some[1].name)
        assert some[0].peers.compared == [(some[1].name, 1)]


async def test_ten_differences_among_many_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    async with servers(2) as some:
        for node in some.nodes:
            for number in range(5_000):
                await node.found(named(number), b"x")
        for number in range(0, 5_000, 500):
            await some[1].put(b"new", named(number))
            some[0].store.records.pop(named(number))
        told = await some[0].syncer.run(some[1].name)
        assert told.differing == 10
        ranges = sum(count for _, count in some[0].peers.compared)
        assert ranges < 10 * 16 * 3
        assert told.round_trips <= 5


async def test_puts_and_deletions_of_an_absence_are_found_without_debts() -> None:
    async with servers(2) as some:
        for number in range(100):
            await some[0].put(b"old", named(number))
        some.down(1)
        for number in range(0, 100, 3):
            await some[0].delete(named(number))
        for number in range(1, 100, 3):
            await some[0].put(b"new", named(number))
        some[0].store.settle_debts(some[1].name, await some[0].store.owed(some[1].name, 1000))
        some.up(1)
        await some[1].syncer.run(some[0].name)
        assert await are_alike(some)
        contents = {path: file.content for path, file in some[1].store.files.items()}
        assert contents == {path: file.content for path, file in some[0].store.files.items()}
        assert len(contents) == 66


async def test_rivals_are_known_by_all_afterwards() -> None:
    async with servers(3) as some:
        for number, node in enumerate(some.nodes):
            await node.found(PATH, b"%d" % number)
        await some.sync()
        assert await are_alike(some)
        for node in some.nodes:
            assert (await node.verdict()).kind is Kind.DIVERGED
            assert len(node.store.kept[PATH]) == 2
            assert [one.path for one in await node.store.differences(Prefix(""), None, 10)] == [PATH]


async def test_a_run_that_is_cut_says_so_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "RANGES_AT_ONCE", 2)
    async with servers(2) as some:
        for number in range(400):
            await some[1].found(named(number), b"%d" % number)
        real = some[0].peers.compare

        async def cut(server: object, asked: list[Summary]) -> object:
            if len(some[0].peers.compared) > 4:
                raise PeerUnreachable("connection lost")
            return await real(server, asked)  # type: ignore[arg-type]

        some[0].peers.compare = cut  # type: ignore[assignment, method-assign]
        told = await some[0].syncer.run(some[1].name)
        assert (told.error, told.is_equal) == ("connection lost", None)
        done = len(some[0].store.files)
        assert 0 < done < 400
        assert await some[0].store.noted(f"met:{some[1].name}") is None
        some[0].peers.compare = real  # type: ignore[method-assign]
        told = await some[0].syncer.run(some[1].name)
        assert told.is_equal
        assert told.differing < 400, "what was done is not compared again"
        assert await are_alike(some)


async def test_memory_is_bounded_however_much_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heal_queue, "MAX_FOLLOWED_PATHS", 20)
    async with servers(2) as some:
        for number in range(1_000):
            await some[1].found(named(number), b"x")
        some[0].healing.pause()
        running = asyncio.create_task(some[0].syncer.run(some[1].name))
        await until(lambda: some[0].healing.progress().queued == 20)
        assert some[0].syncer.progress()[0].running
        queued = list(some[0].healing._queued[Urgency.SYNC])
        assert queued == sorted(queued)
        some[0].healing.resume()
        assert (await running).mended == 1_000


async def test_what_cannot_be_mended_is_said_and_does_not_spin() -> None:
    async with servers(2) as some:
        await some[1].found(PATH, b"here")
        some[0].store.answer_always(PATH, Absent(FOLDER))
        for _ in range(3):
            told = await some[0].syncer.run(some[1].name)
            assert (told.differing, told.mended, told.failed, told.is_equal) == (1, 0, 1, False)
        assert some[0].healing.progress().failures[0].tries == 1
        assert not some[0].peers.fetched
        some[0].store.answer_always(PATH, None)
        some[0].healing.wake()
        assert (await some[0].syncer.run(some[1].name)).is_equal


def test_a_peer_that_delivers_nothing_is_not_asked_for_everything_at_full_speed() -> None:
    async def story() -> None:
        async with servers(2) as some:
            for number in range(3_000):
                await some[1].found(named(number), b"%d" % number)

            async def fails(path: FilePath, *, is_news: bool = False) -> str | None:
                await asyncio.sleep(0.001)
                return "no luck"

            some[0].updater.update = fails  # type: ignore[method-assign]
            began_s = asyncio.get_running_loop().time()
            told = await some[0].syncer.run(some[1].name)
            assert told.failed == 3_000, "each has its turn all the same"
            took_s = asyncio.get_running_loop().time() - began_s
            assert took_s > 1_500 * sync.FAILING_PAUSE_S

    virtual.run(story)


async def test_what_the_other_has_yet_to_take_over_is_not_healed_here_again_and_again() -> None:
    async with servers(2) as some:
        await some[0].put(b"one")
        await some[0].payer.close()  # what is owed stays owed
        some.down(1)
        await some[0].put(b"two")
        some.up(1)
        for runs in range(1, 4):
            told = await some[0].syncer.run(some[1].name)
            assert (told.differing, told.failed, told.is_equal) == (1, 0, True)
            assert some[0].healing.progress().healed == 1, runs


@pytest.mark.parametrize("count", [3, 5_000])
async def test_closing_waits_for_nothing_that_is_queued(count: int) -> None:
    """Healing is paused, so that what was queued never ends; with the many, the run waits for room in the queue."""
    async with servers(2) as some:
        for number in range(count):
            await some[1].found(named(number), b"%d" % number)
        some[0].healing.pause()
        some[0].syncer.start()
        await until(lambda: some[0].healing.progress().queued >= min(count, heal_queue.MAX_FOLLOWED_PATHS))
        async with asyncio.timeout(5):
            await some[0].syncer.close()


async def test_a_peer_that_makes_no_sense_ends_the_run() -> None:
    async with servers(2) as some:
        await some[0].found(PATH, b"x")

        async def nonsense(server: object, asked: list[Summary]) -> object:
            return [Cut((one,)) for one in asked]

        some[0].peers.compare = nonsense  # type: ignore[assignment, method-assign]
        assert (await some[0].syncer.run(some[1].name)).error == "did not cut a range into parts"

        async def endless(server: object, asked: list[Summary]) -> object:
            return [Cut((Summary(one.span, one.fingerprint._replace(total=1)),) * 2) for one in asked]

        some[0].peers.compare = endless  # type: ignore[assignment, method-assign]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(comparison, "MAX_ROUND_TRIPS", 20)
            assert "to no end" in ((await some[0].syncer.run(some[1].name)).error or "")


async def test_only_what_is_in_scope_is_compared() -> None:
    async with servers(2) as some:
        for path in ("a/b", "a/b0", "a/b/1", "a/b/2", "a/c", "b"):
            await some[1].found(path, path.encode())
        told = await some[0].syncer.run(some[1].name, Order(7, Prefix("a/b/")))
        assert sorted(some[0].store.files) == ["a/b/1", "a/b/2"]
        assert (told.order, told.differing, told.is_equal) == (7, 2, None)
        await some[0].syncer.run(some[1].name, Order(8, FilePath("a/b0")))
        assert sorted(some[0].store.files) == ["a/b/1", "a/b/2", "a/b0"]
        assert await some[0].store.noted(f"met:{some[1].name}") is None


async def test_it_runs_when_a_peer_comes_up_and_when_it_is_ordered() -> None:
    async with servers(3) as some:
        some.down(0)
        some[0].syncer.start()
        await some[1].found(PATH, b"x")
        await asyncio.sleep(0)
        assert not some[0].peers.compared
        some[0].peers.came_up(some[1].name)
        await until(lambda: PATH in some[0].store.files)
        await some[2].found("other", b"y")
        assert some[0].syncer.order(42) is None
        await until(lambda: all(42 in one.ended_orders for one in some[0].syncer.progress()))
        one, other = some[0].syncer.progress()
        assert (one.order, one.error) == (42, None)
        assert other.error == "refused the connection", "an order is not silently put off"
        for _ in range(sync.MAX_ORDERS):
            some[0].syncer.order(43)
        assert some[0].syncer.order(44) is not None


async def test_debts_that_were_let_go_are_forgotten_once_nothing_differs() -> None:
    async with servers(2) as some:
        some[0].store._debts.max_paths = 2
        some.down(1)
        for number in range(5):
            await some[0].put(b"x", named(number))
        some.up(1)
        assert some[0].store.debts()[some[1].name].lost
        await some[0].syncer.run(some[1].name)
        assert some[0].store.debts()[some[1].name].lost, "the other has not come for it yet"
        await some[1].syncer.run(some[0].name)
        await some.replay()
        await some[0].syncer.run(some[1].name)
        assert not some[0].store.debts()


# Strangers.


async def away_for_long(some: Servers) -> None:
    """The second server was away, and the first one was not."""
    await some.sync()
    for node in some.nodes:
        node.strangers.still_here()
    for _ in range(int(KEEP_TOMBSTONES_S // (24 * 3600)) + 2):
        for node in some.nodes:
            node.now_ns += DAY_NS
            if node is not some[1]:
                node.strangers.still_here()


async def test_what_only_a_stranger_has_is_reported_and_not_spread() -> None:
    async with servers(2) as some:
        await some[0].put(b"old")
        await some.sync()
        some.down(1)
        await some[0].delete()
        await away_for_long(some)
        some[0].store.records.pop(PATH)  # the deletion is forgotten by now
        some[0].store.settle_debts(some[1].name, await some[0].store.owed(some[1].name, 10))
        some.up(1)
        for _ in range(2):
            told = await some[0].syncer.run(some[1].name)
            assert told.failed == 0
        assert await some[0].store.estranged(None, 10) == [PATH]
        assert PATH not in some[0].store.files
        # Reading it shows it, and takes nothing in; nor does a suggestion.
        assert (await some[0].verdict()).kind is Kind.PARTIAL
        assert await some[0].updater.update(PATH) is None
        some[0].healing.suggest(PATH)
        reading = await some[0].reader.read(PATH)
        body = some[0].reader.body(reading, reading.verdict.version)
        assert b"".join([block async for block in body.blocks()]) == b"old"
        reading.close()
        await some[0].healer.settle()
        assert PATH not in some[0].store.files


async def strange(some: Servers) -> None:
    """The second server comes back as a stranger, with a file that the first one has deleted, and forgotten."""
    await some[0].put(b"old")
    await some.sync()
    some.down(1)
    await some[0].delete()
    await away_for_long(some)
    some[0].store.records.pop(PATH)
    some[0].store.settle_debts(some[1].name, await some[0].store.owed(some[1].name, 10))
    some.up(1)


async def test_what_a_stranger_has_is_left_alone_before_it_was_compared_with() -> None:
    async with servers(2) as some:
        await strange(some)
        reading = await some[0].reader.read(PATH)
        body = some[0].reader.body(reading, reading.verdict.version)
        assert b"".join([block async for block in body.blocks()]) == b"old"
        reading.close()
        await some[0].healer.settle()
        assert PATH not in some[0].store.files, "a read showed it, and took nothing in"
        some[0].healing.suggest(PATH)
        await until(lambda: some[0].healing.progress().healed == 1)
        assert PATH not in some[0].store.files, "nor does a suggestion, as of somebody who reads it there"
        assert await some[0].store.is_estranged(PATH)


async def test_a_stranger_stays_one_where_what_it_has_cannot_all_be_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    async with servers(2) as some:
        await strange(some)
        with monkeypatch.context() as patch:
            patch.setattr(some[0].store, "deem_estranged", lambda paths: None)  # there is no room
            assert (await some[0].syncer.run(some[1].name)).error == sync.TOO_MANY
        assert await some[0].strangers.is_stranger(some[1].name)
        assert (await some[0].syncer.run(some[1].name)).error is None
        assert PATH not in some[0].store.files


async def test_who_is_still_hashing_is_not_compared_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "INDEXED_WAIT_S", 0.01)
    async with servers(2) as some:
        await strange(some)
        store = some[1].store
        store.records.clear()  # its index was lost, too
        some[0].peers.requests = {some[1].name: Requests(store, begins={}, reported=told_nothing)}
        met = await some[0].store.noted(f"met:{some[1].name}")
        told = await some[0].syncer.run(some[1].name)
        assert (told.error, told.is_equal) == ("is still hashing its files", True)
        assert await some[0].store.noted(f"met:{some[1].name}") == met, "it is as strange as before"
        await store.examine(PATH, wait_s=1)
        assert (await some[0].syncer.run(some[1].name)).error is None
        assert await some[0].store.estranged(None, 10) == [PATH]
        assert PATH not in some[0].store.files


async def told_nothing(question: bytes) -> bytes:
    return b""


def test_a_run_that_failed_is_begun_again_soon_also_without_a_schedule() -> None:
    async def story() -> None:
        async with servers(2) as some:
            await some[1].found(PATH, b"x")
            real = some[0].peers.compare

            async def busy(server: object, asked: list[Summary]) -> object:
                if asyncio.get_running_loop().time() < began_s + 100:
                    runs.append(None)
                    raise PeerUnreachable("is still hashing its files")
                return await real(server, asked)  # type: ignore[arg-type]

            runs: list[None] = []
            began_s = asyncio.get_running_loop().time()
            some[0].peers.compare = busy  # type: ignore[assignment, method-assign]
            some[0].syncer.start()
            await virtual.until(lambda: PATH in some[0].store.files, "it is compared with in the end")
            assert 2 < len(runs) < 6

    virtual.run(story)


async def test_a_stranger_gets_what_it_missed_and_what_is_written_to_it_counts() -> None:
    async with servers(2) as some:
        await some[0].put(b"x", FilePath("other"))
        await some.sync()
        some.down(1)
        await away_for_long(some)
        await some[0].put(b"new", FilePath("new"))
        await some[1].found(PATH, b"only here")
        some.up(1)
        await some[1].strangers.begin()
        told = await some[1].syncer.run(some[0].name)
        assert (told.stranger, told.mended) == (False, 1)
        told = await some[0].syncer.run(some[1].name)
        assert told.stranger
        assert await some[0].store.is_estranged(PATH)
        await some[1].put(b"written", PATH)
        assert some[0].store.files[PATH].content == b"written"
        assert not await some[0].store.is_estranged(PATH)


async def test_a_write_to_what_only_a_stranger_has_reaches_who_was_away() -> None:
    async with servers(2) as some:
        await away_for_long(some)
        await some[1].found(PATH, b"only here")
        await some[0].syncer.run(some[1].name)
        assert await some[0].store.is_estranged(PATH)
        some.down(0)
        await some[1].put(b"written")
        some.up(0)
        await some.replay()
        assert some[0].store.files[PATH].content == b"written"


async def test_what_two_others_have_is_no_longer_only_a_strangers() -> None:
    async with servers(3) as some:
        await away_for_long(some)
        await some[1].found(PATH, b"there")
        await some[0].syncer.run(some[1].name)
        assert await some[0].store.is_estranged(PATH)
        await some[2].found(PATH, b"there")
        some[0].now_ns = some[2].now_ns  # the third was never away
        some[0].strangers.met(some[2].name)
        await some[0].syncer.run(some[2].name)
        assert some[0].store.files[PATH].content == b"there"


async def test_a_clock_that_was_a_year_ahead_hides_nobodys_absence() -> None:
    async with servers(2) as some:
        mine = some[0]
        year_ns = 365 * DAY_NS
        mine.now_ns += year_ns
        await mine.strangers.begin()
        await some.sync()
        mine.now_ns -= year_ns  # somebody has put it right
        mine.strangers.still_here()
        some.down(1)
        for _ in range(int(KEEP_TOMBSTONES_S // (24 * 3600)) + 2):
            mine.now_ns += DAY_NS
            mine.strangers.still_here()
        assert await mine.strangers.is_stranger(some[1].name)
        await mine.strangers.begin()
        assert await mine.strangers.is_stranger(some[1].name), "this server was there all the time"


async def test_who_was_never_met_is_no_stranger() -> None:
    async with servers(2) as some:
        for node in some.nodes:
            node.now_ns += 1000 * DAY_NS
        await some[1].found(PATH, b"there")
        assert not (await some[0].syncer.run(some[1].name)).stranger
        assert some[0].store.files[PATH].content == b"there"


async def test_known_differences_are_looked_at_again_until_they_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from accord.engine import recheck

    monkeypatch.setattr(recheck, "RECHECKED_AT_ONCE", 3)
    async with servers(2) as some:
        for number in range(5):
            await some[1].found(named(number), b"x")
            await some[0].verdict(named(number))
        for number in range(5):
            await some[0].found(named(number), b"x")
        assert len(await some[0].store.differences(Prefix(""), None, 10)) == 5
        await some[0].recheck.recheck()
        assert len(await some[0].store.differences(Prefix(""), None, 10)) == 2
        await some[0].recheck.recheck()
        assert await some[0].store.differences(Prefix(""), None, 10) == []


# The law.

paths = st.sampled_from([FilePath(name) for name in ("a", "b", "c/d", "c/e", "é")])
contents = st.sampled_from([b"", b"one", b"two", b"three"])
numbers = st.integers(0, 3)
deeds = st.one_of(
    st.tuples(st.just("put"), numbers, paths, contents),
    st.tuples(st.just("delete"), numbers, paths),
    st.tuples(st.just("edit"), numbers, paths, contents),
    st.tuples(st.just("lose"), numbers, paths),
    st.tuples(st.just("down"), numbers),
    st.tuples(st.just("up"), numbers),
    st.tuples(st.just("sync"), numbers),
)


async def done(some: Servers, deed: tuple[object, ...], down: set[int]) -> None:
    what, number, *rest = deed
    assert isinstance(number, int)
    number %= len(some.nodes)
    node = some[number]
    try:
        match what, *rest:
            case "put", FilePath() as path, bytes() as content:
                await node.put(content, path)
            case "delete", FilePath() as path:
                await node.delete(path)
            case "edit", FilePath() as path, bytes() as content:
                node.store.put_outside(path, content)
            case "lose", FilePath() as path:
                node.store.files.pop(path, None)
            case "sync":
                for peer in node.peers.names:
                    await node.syncer.run(peer)
            case "down":
                some.down(number)
                down.add(number)
            case "up":
                some.up(number)
                down.discard(number)
    except (Refused, AccordError):
        pass  # refused, which is an answer


async def is_lost(some: Servers, path: FilePath) -> bool:
    """Whether a current version's bytes were destroyed on every server that had them: then they stay lacking."""
    current = {version.digest for node in some.nodes for _, version in node.store.records[path].clock.current()}
    for digest in current - {None}:
        assert digest is not None
        held = [await node.store.open_version(path, digest) for node in some.nodes]
        for copy in held:
            if copy is not None:
                copy.close()
        if not any(held):
            return True
    return False


async def converged(count: int, story: list[tuple[object, ...]]) -> None:
    async with servers(count) as some:
        down: set[int] = set()
        for deed in story:
            await done(some, deed, down)
        for number in range(count):
            some.up(number)
        for node in some.nodes:
            list(node.store.rescan(Prefix("")))
            node.healing.wake()
        for _ in range(2):
            await some.sync()
            for node in some.nodes:
                node.mender.look()
                await until(lambda node=node: node.mender._task.done() and not node.healing._workers)  # type: ignore[misc]
        assert await are_alike(some)
        for node in some.nodes:
            assert [path for path in await node.store.unmended(None, 10) if not await is_lost(some, path)] == []
        before = [dict(node.store.files) for node in some.nodes], [node.healing.progress() for node in some.nodes]
        told = await some.sync()
        assert [one.differing for one in told] == [0] * len(told)
        assert before == (
            [dict(node.store.files) for node in some.nodes],
            [node.healing.progress() for node in some.nodes],
        )


@settings(max_examples=120, suppress_health_check=list(HealthCheck))
@given(st.integers(2, 4), st.lists(deeds, max_size=25))
def test_after_the_last_fault_two_rounds_make_all_alike_and_a_third_does_nothing(
    count: int, story: list[tuple[object, ...]]
) -> None:
    asyncio.run(converged(count, story))

"""What every store remembers of what other servers are owed. Part of the store conformance suite."""

from __future__ import annotations

from accord.model.names import FilePath, ServerName
from accord.store.port import Debts
from accord.testing.conformance import Disk, change_to, committed, looked, put, received, version_of

A, B, C = (FilePath(name) for name in ("a.txt", "b.txt", "c.txt"))
SECOND, THIRD = ServerName("server2"), ServerName("server3")
EVERYTHING = 1000


class DebtConformance:
    async def test_nobody_is_owed_anything_at_first(self, disk: Disk) -> None:
        await put(disk.store, b"content", A)
        assert dict(disk.store.debts()) == {}
        assert await disk.store.owed(SECOND, EVERYTHING) == []
        disk.store.settle_debts(SECOND, [(A, 1)])

    async def test_debts_are_told_in_the_order_of_the_changes(self, disk: Disk) -> None:
        for path, owed in ((C, [SECOND, THIRD]), (A, [SECOND]), (B, [THIRD, SECOND])):
            await put(disk.store, b"content", path, owed=owed)
        assert [path for path, _ in await disk.store.owed(SECOND, EVERYTHING)] == [C, A, B]
        assert [path for path, _ in await disk.store.owed(THIRD, EVERYTHING)] == [C, B]
        numbers = [number for _, number in await disk.store.owed(SECOND, EVERYTHING)]
        assert numbers == sorted(set(numbers))
        assert dict(disk.store.debts()) == {SECOND: Debts(3, False), THIRD: Debts(2, False)}

    async def test_they_are_told_a_few_at_a_time(self, disk: Disk) -> None:
        for path in (A, B, C):
            await put(disk.store, b"content", path, owed=[SECOND])
        everything = await disk.store.owed(SECOND, EVERYTHING)
        assert await disk.store.owed(SECOND, 2) == everything[:2]
        assert await disk.store.owed(SECOND, 2, after=everything[1][1]) == everything[2:]
        assert await disk.store.owed(SECOND, 2, after=everything[2][1]) == []

    async def test_the_commit_tells_the_number(self, disk: Disk) -> None:
        changes = [
            change_to(
                (await looked(disk.store, path)).clock,
                version_of(b"content"),
                path=path,
                incoming=(await received(disk.store, b"content"),),
                owed=(SECOND,),
            )
            for path in (A, B)
        ]
        done = await committed(disk.store, *changes)
        assert await disk.store.owed(SECOND, EVERYTHING) == [(A, done[0].debt), (B, done[1].debt)]

    async def test_what_is_settled_is_owed_no_longer(self, disk: Disk) -> None:
        for path in (A, B):
            await put(disk.store, b"content", path, owed=[SECOND, THIRD])
        first, second = await disk.store.owed(SECOND, EVERYTHING)
        disk.store.settle_debts(SECOND, [first])
        assert await disk.store.owed(SECOND, EVERYTHING) == [second]
        assert dict(disk.store.debts()) == {SECOND: Debts(1, False), THIRD: Debts(2, False)}
        disk.store.settle_debts(SECOND, [first, second])
        assert await disk.store.owed(SECOND, EVERYTHING) == []
        assert dict(disk.store.debts()) == {THIRD: Debts(2, False)}

    async def test_a_later_change_of_the_path_is_not_settled_with_an_earlier(self, disk: Disk) -> None:
        await put(disk.store, b"one", A, owed=[SECOND])
        (earlier,) = await disk.store.owed(SECOND, EVERYTHING)
        await put(disk.store, b"two", A, owed=[SECOND])
        disk.store.settle_debts(SECOND, [earlier])
        (later,) = await disk.store.owed(SECOND, EVERYTHING)
        assert (later[0], later[1] > earlier[1]) == (A, True)
        disk.store.settle_debts(SECOND, [later])
        assert await disk.store.owed(SECOND, EVERYTHING) == []

    async def test_debts_outlast_a_restart_and_numbers_only_grow(self, disk: Disk) -> None:
        for path in (A, B):
            await put(disk.store, b"content", path, owed=[SECOND])
        before = await disk.store.owed(SECOND, EVERYTHING)
        await disk.reopen()
        assert await disk.store.owed(SECOND, EVERYTHING) == before
        assert dict(disk.store.debts()) == {SECOND: Debts(2, False)}
        disk.store.settle_debts(SECOND, before)
        await disk.reopen()
        assert await disk.store.owed(SECOND, EVERYTHING) == []
        await put(disk.store, b"content", C, owed=[SECOND])
        ((_, number),) = await disk.store.owed(SECOND, EVERYTHING)
        assert number > before[-1][1]

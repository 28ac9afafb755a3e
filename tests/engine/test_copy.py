"""Copies on the servers whose source turns out damaged: said as what it is, and known afterwards."""

from __future__ import annotations

import pytest

from accord.engine.deciding import Wish
from accord.errors import DamagedEverywhere, TooFewCopies, UsageError
from accord.model.names import FilePath
from accord.model.verdict import Damaged, Kind
from tests.engine.servers import PATH, servers

OTHER = FilePath("other.txt")


async def test_what_is_damaged_everywhere_cannot_be_copied() -> None:
    async with servers(2) as some:
        await some[0].put(b"one")
        for node in some.nodes:
            node.store.rot(PATH)
            await node.store.examine(PATH, wait_s=1, reread=True)
        with pytest.raises(DamagedEverywhere):
            await some[0].copier.copy(PATH, None, OTHER, Wish(), moves=False)
        assert (await some[0].verdict(OTHER)).kind is Kind.MISSING


async def test_rot_that_a_copy_comes_upon_is_known_afterwards() -> None:
    async with servers(2) as some:
        some.down(1)
        await some[0].put(b"one")
        some[0].store.rot(PATH)
        with pytest.raises(DamagedEverywhere):
            await some[0].copier.copy(PATH, None, OTHER, Wish(), moves=True)
        assert (await some[0].verdict()).kind is Kind.DAMAGED


async def test_a_copy_is_made_from_another_server_s_bytes_where_this_one_s_rotted() -> None:
    async with servers(2) as some:
        await some[0].put(b"one")
        some[0].store.rot(PATH)
        await some[0].copier.copy(PATH, None, OTHER, Wish(), moves=False)
        assert [node.store.files[OTHER].content for node in some.nodes] == [b"one"] * 2


@pytest.mark.parametrize("copies", [2, 5])
async def test_a_copy_that_too_few_could_have_takes_no_room(copies: int) -> None:
    async with servers(2) as some:
        await some[0].put(b"one")
        some.down(1)
        with pytest.raises((TooFewCopies, UsageError)):
            await some[0].copier.copy(PATH, None, OTHER, Wish(min_copies=copies), moves=False)
        assert some[0].store.open_stagings == 0


async def test_what_nobody_could_ever_read_cannot_be_copied() -> None:
    """No digest of it is known, and so there is no version that it would be."""
    async with servers(2) as some:
        for node in some.nodes:
            node.store.answer_always(PATH, Damaged("the disk cannot read it"))
        with pytest.raises(DamagedEverywhere):
            await some[0].copier.copy(PATH, None, OTHER, Wish(), moves=False)

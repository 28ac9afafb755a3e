"""Lists of chunks, and what follows from them: all of the wanted content is accounted for, and nothing is fetched that is at hand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.model.chunks import Chunk, ChunkList, Run, missing_bytes, runs_of
from accord.model.names import Digest


def chunks(text: str) -> list[Chunk]:
    """A chunk for each letter: its size is the letter's place in the alphabet."""
    return [Chunk(ord(one) - 96, Digest(hashlib.sha256(one.encode()).digest())) for one in text]


def content(text: str) -> str:
    return "".join(one * (ord(one) - 96) for one in text)


def made(wanted: str, bases: Sequence[str]) -> tuple[str, str]:
    """What is made of the runs, byte by byte, and of which letters what was fetched is."""
    whole, fetched, at = "", "", 0
    for run in runs_of(chunks(wanted), [chunks(base) for base in bases]):
        assert run.start == len(whole)
        assert run.first == at
        size = len(content(wanted[run.first : run.stop]))
        if run.base is None:
            fetched += wanted[run.first : run.stop]
            whole += content(wanted)[run.start : run.start + size]
        else:
            whole += content(bases[run.base])[run.at : run.at + size]
        at = run.stop
    assert at == len(wanted)
    return whole, fetched


LETTERS = st.text("abcde", max_size=12)


@given(LETTERS, st.lists(LETTERS, max_size=3))
def test_the_runs_make_the_content_and_fetch_only_what_no_base_has(wanted: str, bases: list[str]) -> None:
    whole, fetched = made(wanted, bases)
    assert whole == content(wanted)
    assert sorted(fetched) == sorted(one for one in wanted if one not in "".join(bases))


@given(LETTERS, st.lists(LETTERS, max_size=3))
def test_what_is_missing_is_what_is_fetched(wanted: str, bases: list[str]) -> None:
    runs = runs_of(chunks(wanted), [chunks(base) for base in bases])
    assert missing_bytes(runs, len(content(wanted))) == len(content(made(wanted, bases)[1]))


def test_what_stayed_together_is_one_run() -> None:
    assert runs_of(chunks("abXcd".lower()), [chunks("abcd")]) == [
        Run(0, 2, 0, 0, 0),
        Run(2, 3, 3),
        Run(3, 5, 27, 0, 3),
    ]


def test_content_that_repeats_itself_is_followed_where_it_goes_on() -> None:
    """The base has an 'a' everywhere; the first of them is not where the run goes on."""
    assert runs_of(chunks("abacad"), [chunks("zabacad")]) == [Run(0, 6, 0, 0, 26)]


def test_a_run_goes_on_in_the_base_it_began_in() -> None:
    assert [run.base for run in runs_of(chunks("bcd"), [chunks("cd"), chunks("bcd")])] == [1]


def test_nothing_is_nothing() -> None:
    assert runs_of([], [chunks("a")]) == []
    assert missing_bytes([], 0) == 0
    assert missing_bytes(runs_of(chunks("abc"), []), 6) == 6


@given(LETTERS)
def test_a_list_keeps_its_chunks_in_one_piece(text: str) -> None:
    listed, plain = ChunkList.of(chunks(text)), chunks(text)
    assert list(listed) == plain
    assert len(listed) == len(plain)
    assert [listed[number] for number in range(-len(plain), len(plain))] == plain + plain
    assert listed[1:-1] == plain[1:-1]
    assert ChunkList(listed.packed) == listed


def test_what_is_no_list_of_chunks_is_refused() -> None:
    with pytest.raises(ValueError, match="no list of chunks"):
        ChunkList(bytes(35))
    with pytest.raises(IndexError):
        ChunkList.of(chunks("ab"))[2]

"""Listings are merged in order; who fails is silent from there on, and a cut stream is never taken for a whole one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import PeerUnreachable, StoreFailed
from accord.model.listing import Walked
from accord.model.names import FilePath, Prefix, ServerName
from accord.model.verdict import Absent, Answer, Checking, Kind, Unreachable, Verdict, compare
from accord.server.listing import Folder, Merge, as_json, as_lines, as_page, in_threads
from tests.server.fakes import Held, streamed, walked
from tests.server.verdicts import SERVER1, SERVER2, SERVER3, copy_of, damaged, tombstone

ONE, TWO = copy_of(b"one"), copy_of(b"two")
EVERYTHING = Prefix("")


def streams(*held: Held) -> dict[ServerName, AsyncIterator[Sequence[Walked]]]:
    return {name: streamed(one) for name, one in zip((SERVER1, SERVER2, SERVER3), held, strict=False)}


async def verdicts(merge: Merge, size: int = 200) -> list[Verdict]:
    return [entry async for batch in merge.batches(size) for _, entry in batch if isinstance(entry, Verdict)]


async def kinds(*held: Held) -> dict[str, Kind]:
    return {verdict.path: verdict.kind for verdict in await verdicts(Merge(streams(*held)))}


async def test_every_path_has_its_verdict_in_order() -> None:
    found = await kinds(
        {"a": ONE, "b": ONE, "d": ONE, "g": tombstone(), "h": Checking()},
        {"a": ONE, "b": TWO, "c": ONE, "e": damaged(b"x"), "g": tombstone()},
    )
    assert list(found.items()) == [
        ("a", Kind.IDENTICAL),
        ("b", Kind.DIVERGED),
        ("c", Kind.PARTIAL),
        ("d", Kind.PARTIAL),
        ("e", Kind.DAMAGED),
        ("h", Kind.UNKNOWN),
    ]


async def test_deleted_files_are_shown_when_asked_for() -> None:
    merge = Merge(streams({"g": tombstone()}, {"g": tombstone()}), show_deleted=True)
    assert [verdict.kind for verdict in await verdicts(merge)] == [Kind.DELETED]


async def test_what_nobody_has_is_left_out() -> None:
    assert await kinds({"a": Absent()}, {"a": Absent(obstacle="a folder")}) == {}
    assert await kinds({}, {}) == {}


answers = st.sampled_from([ONE, TWO, Absent(), Checking(), damaged(b"x")])
paths = st.text("ab/é😀", min_size=1, max_size=4).filter(lambda text: "//" not in text and text.strip("/") == text)
trees = st.dictionaries(paths, answers, max_size=12)


@given(st.lists(trees, min_size=1, max_size=3), st.integers(1, 4), st.integers(1, 5))
async def test_merging_is_comparing_path_by_path(held: list[Held], page_paths: int, size: int) -> None:
    names = (SERVER1, SERVER2, SERVER3)[: len(held)]
    merge = Merge({name: streamed(one, page_paths=page_paths) for name, one in zip(names, held, strict=True)})
    found = await verdicts(merge, size)
    every = sorted(set().union(*held), key=str.encode)
    expected = [
        compare(FilePath(path), {name: one.get(path, Absent()) for name, one in zip(names, held, strict=True)})
        for path in every
    ]
    assert found == [verdict for verdict in expected if verdict.kind is not Kind.MISSING]


async def test_a_server_that_fails_is_silent_from_there_on() -> None:
    merge = Merge(
        {
            SERVER1: streamed({"a": ONE, "b": ONE, "c": ONE, "d": ONE, "e": ONE}),
            SERVER2: streamed({"a": ONE, "b": ONE}, failure=PeerUnreachable("it went away")),
        }
    )
    found = {verdict.path: verdict for verdict in await verdicts(merge)}
    assert [verdict.kind.value for verdict in found.values()] == ["identical", "identical"] + ["unverified"] * 3
    assert found["c"].servers[1].reason == "it went away"
    assert [(one.name, one.state, one.reason) for one in merge.servers()] == [
        ("server1", "answered", None),
        ("server2", "unreachable", "it went away"),
    ]


async def test_this_servers_own_failure_is_told_like_any_other() -> None:
    merge = Merge({SERVER1: streamed({}, failure=StoreFailed("I/O error")), SERVER2: streamed({"a": ONE})})
    assert [verdict.kind for verdict in await verdicts(merge)] == [Kind.UNVERIFIED]
    assert merge.servers()[0].state == "unreachable"


@pytest.mark.parametrize("garbage", [["b", "a"], ["a", "a"], ["z/x"]], ids=["backwards", "twice", "elsewhere"])
async def test_a_listing_out_of_order_is_not_believed(garbage: list[str]) -> None:
    async def pages() -> AsyncIterator[Sequence[Walked]]:
        yield [Walked(FilePath(f"p/{path}" if "/" not in path else path), ONE) for path in garbage]

    merge = Merge({SERVER1: streamed({"p/a": ONE}), SERVER2: pages()}, "p/")
    found = await verdicts(merge)
    assert [(verdict.path, verdict.kind) for verdict in found] == [("p/a", Kind.UNVERIFIED)]
    assert merge.servers()[1].reason == "its listing is out of order"


async def test_at_most_one_page_of_each_server_is_fetched_ahead() -> None:
    fetched = 0

    async def pages() -> AsyncIterator[Sequence[Walked]]:
        nonlocal fetched
        for number in range(100):
            fetched += 1
            yield [Walked(FilePath(f"{number:03}/{part}"), ONE) for part in range(10)]

    seen = 0
    async for batch in Merge({SERVER1: pages(), SERVER2: streamed({})}).batches(5):
        seen += len(batch)
        assert fetched <= seen // 10 + 1
    assert seen == 1000


async def test_streams_are_closed_when_the_reader_leaves() -> None:
    closed = False

    async def pages() -> AsyncIterator[Sequence[Walked]]:
        nonlocal closed
        try:
            for number in range(100):
                yield [Walked(FilePath(f"{number:03}"), ONE)]
        finally:
            closed = True

    await as_json(Merge({SERVER1: pages()}), EVERYTHING, 3)
    assert closed


async def page_of(held: Held, limit: int, after: str | None = None) -> dict:  # type: ignore[type-arg]
    merge = Merge({SERVER1: streamed(held, after=after), SERVER2: in_threads(walked(held, after=after))})
    return json.loads(await as_json(merge, EVERYTHING, limit))


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 7])
async def test_pages_together_are_the_whole(limit: int) -> None:
    held: dict[str, Answer] = dict.fromkeys(("a", "b/c", "b/d", "é", "😀", "z"), ONE)
    seen: list[str] = []
    after: str | None = None
    while True:
        page = await page_of(held, limit, after)
        assert len(page["entries"]) <= limit
        seen += [entry["path"] for entry in page["entries"]]
        after = page["next"]
        if after is None:
            break
        assert len(page["entries"]) == limit
    assert seen == sorted(held)


async def test_the_json_of_a_page() -> None:
    page = await page_of({"a": ONE}, 10)
    assert set(page) == {"prefix", "entries", "next", "servers"}
    assert page["entries"][0]["verdict"] == "identical"
    assert page["servers"] == [{"name": "server1", "state": "answered"}, {"name": "server2", "state": "answered"}]


async def lines_of(merge: Merge, limit: int | None = None) -> list[dict]:  # type: ignore[type-arg]
    body = b"".join([chunk async for chunk in as_lines(merge, limit)])
    assert body.endswith(b"\n")
    return [json.loads(line) for line in body.splitlines()]


@pytest.mark.parametrize(
    ("limit", "count", "following"), [(None, 5, None), (5, 5, None), (6, 5, None), (3, 3, "c"), (2, 2, "b")]
)
async def test_a_stream_ends_with_a_line_that_says_so(limit: int | None, count: int, following: str | None) -> None:
    held: dict[str, Answer] = dict.fromkeys("abcde", ONE)
    *entries, end = await lines_of(Merge(streams(held, held)), limit)
    assert [entry["path"] for entry in entries] == list("abcde")[:count]
    assert (end["end"], end["entries"], end["next"]) == (True, count, following)
    assert [one["state"] for one in end["servers"]] == ["answered", "answered"]


async def test_an_empty_stream_has_its_end_too() -> None:
    assert [line["entries"] for line in await lines_of(Merge(streams({}, {})))] == [0]


@given(st.lists(trees, min_size=1, max_size=3), st.integers(1, 4), st.sampled_from(["", "a/"]))
async def test_folding_is_counting_the_verdicts_of_each_folder(held: list[Held], page_paths: int, prefix: str) -> None:
    names = (SERVER1, SERVER2, SERVER3)[: len(held)]

    def each() -> dict[ServerName, AsyncIterator[Sequence[Walked]]]:
        return {n: streamed(one, prefix, page_paths=page_paths) for n, one in zip(names, held, strict=True)}

    expected: dict[str, dict[str, int]] = {}
    for verdict in await verdicts(Merge(each(), prefix)):
        name, slash, _ = verdict.path.removeprefix(prefix).partition("/")
        counts = expected.setdefault(prefix + name + slash, {})
        counts[verdict.kind.value] = counts.get(verdict.kind.value, 0) + 1
    found = [entry async for batch in Merge(each(), prefix, folded=True).batches() for _, entry in batch]
    told = {one.folder: one.verdicts if isinstance(one, Folder) else {} for one in found if isinstance(one, Folder)}
    assert told == {path: counts for path, counts in expected.items() if path.endswith("/")}
    assert [one.folder if isinstance(one, Folder) else str(one.path) for one in found] == list(expected)
    assert all(one.files == sum(one.verdicts.values()) for one in found if isinstance(one, Folder))


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_folded_pages_together_are_the_whole(limit: int) -> None:
    held: dict[str, Answer] = dict.fromkeys(("a", "b/c", "b/d", "b/e/f", "c/x", "z"), ONE)
    seen: list[object] = []
    after: str | None = None
    while True:
        merge = Merge({SERVER1: streamed(held, after=after), SERVER2: streamed({}, after=after)}, folded=True)
        page = json.loads(await as_json(merge, EVERYTHING, limit))
        seen += [entry.get("folder") or entry["path"] for entry in page["entries"]]
        after = page["next"]
        if after is None:
            break
    assert seen == ["a", "b/", "c/", "z"]


async def test_the_page_for_people_escapes_and_links() -> None:
    held: dict[str, Answer] = {"d/e f/<b>/x": ONE, "d/<script>.txt": ONE, "d/x": Unreachable("no permission")}
    peers = {SERVER1: streamed(held), SERVER2: streamed({}, failure=PeerUnreachable("<b>gone</b>"))}
    page = (await as_page(Merge(peers, "d/", folded=True), Prefix("d/"), 10)).decode()
    assert "<script" not in page
    assert "&lt;script&gt;.txt" in page
    assert 'href="/files/d/%3Cscript%3E.txt"' in page
    assert '<a href="/list/d/e%20f/">e f/</a>' in page
    assert "1 folder and 2 files" in page
    assert "&lt;b&gt;gone" in page
    assert "Next page" not in page
    more = (await as_page(Merge(streams(held, {}), "d/", folded=True), Prefix("d/"), 1)).decode()
    assert "/list/d/?after=d/%3Cscript%3E.txt&amp;limit=1" in more


async def test_a_page_does_not_link_to_itself_and_rivals_show_the_newest() -> None:
    rivals: dict[str, Answer] = {"d/r": copy_of(b"newest", 10**18 * 2)}
    merge = Merge(streams(rivals, {"d/r": copy_of(b"older one", 10**18)}), "d/", folded=True)
    page = (await as_page(merge, Prefix("d/"), 10)).decode()
    assert 'href="/list/d/"' not in page
    assert '<a href="/list/">All files</a> / d' in page
    assert "6 B" in page
    assert "2033-05-18" in page
    top = (await as_page(Merge(streams({"x": ONE}), folded=True), EVERYTHING, 10)).decode()
    assert 'href="/list/"' not in top

"""What a server says of itself and of the others; which paths are not the same everywhere, as all of them know it; orders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from accord.engine.found_everywhere import clashes_everywhere, findings_everywhere
from accord.engine.known_paths import Differing, KnownPaths
from accord.engine.overview import Overview, Standing
from accord.engine.own_paths import known_here
from accord.engine.peer_requests import Work, read_scope
from accord.engine.progress import SyncProgress
from accord.engine.questions import PAGE_ENTRIES, FindingPage, FoundCopy, Part, PathPage, Question, read_question
from accord.errors import InvalidPath, InvalidQuery
from accord.model.findings import Finding, NameClash, Oddity
from accord.model.names import Digest, FilePath, Prefix
from accord.model.verdict import Kind
from tests.engine.desks import NOW_NS, Desk, desks
from tests.engine.servers import Servers, servers

EVERYTHING = Prefix("")


@pytest.fixture
async def three() -> AsyncIterator[tuple[Servers, list[Desk]]]:
    async with servers(3) as cluster:
        yield cluster, desks(cluster)


def lacking(cluster: Servers, number: int, path: str, content: bytes = b"content") -> None:
    """A file that all servers have but this one."""
    for other, node in enumerate(cluster.nodes):
        if other != number:
            node.store.put_outside(path, content)


async def differing(desk: Desk, prefix: str = "", after: str = "", *kinds: str) -> list[Differing]:
    known = KnownPaths(desk.status, desk.node.reader, Prefix(prefix), FilePath(after) if after else None)
    return [one async for batch in known.batches(frozenset(kinds)) for one in batch]


async def test_a_server_tells_of_its_files_and_of_what_it_knows_to_differ(three: tuple[Servers, list[Desk]]) -> None:
    cluster, (desk, *_) = three
    await cluster[0].put(b"one", FilePath("a/one"))
    await cluster[0].put(b"two", FilePath("b/two"))
    await cluster[0].delete(FilePath("b/two"))
    cluster[2].store.remove_outside("a/one")
    cluster[0].store.note_verdict(FilePath("a/one"), Kind.PARTIAL)
    cluster[0].store.note_finding(Finding(FilePath("a/one"), Oddity.ROT, 5))
    told = await desk.status.own(EVERYTHING)
    assert (told.name, told.version, told.now_ns) == ("server1", "1.2", NOW_NS)
    assert (told.files, told.deleted, told.kinds, told.findings) == (1, 1, {"partial": 1}, {"rot": 1})
    assert told.disk is not None
    below = await desk.status.own(Prefix("b"))
    assert (below.prefix, below.files, below.deleted, below.kinds, below.findings) == ("b/", 0, 1, {}, {})


async def test_rivals_are_counted_whether_a_verdict_told_of_them_or_not(three: tuple[Servers, list[Desk]]) -> None:
    cluster, (desk, *_) = three
    await cluster[0].put(b"mine", FilePath("rivals"), seen={})
    await cluster[0].put(b"yours", FilePath("rivals"), seen={})
    assert (await desk.status.own(EVERYTHING)).rivals == 1
    assert (await desk.status.overview(EVERYTHING)).kinds == {"diverged": 1}


async def test_what_was_mended_since_is_no_difference_any_more(three: tuple[Servers, list[Desk]]) -> None:
    cluster, (desk, *_) = three
    await cluster[0].put(b"same everywhere")
    lacking(cluster, 2, "lacking")
    for path in ("notes.txt", "lacking"):
        cluster[0].store.note_verdict(FilePath(path), Kind.DIVERGED)
    told = await desk.status.overview(EVERYTHING)
    assert (told.kinds, told.rivals) == ({"unverified": 1, "partial": 1}, 0), "nothing was compared"


async def test_the_overview_has_every_server_also_one_that_is_down(three: tuple[Servers, list[Desk]]) -> None:
    cluster, (desk, second, _) = three
    equal = tuple(SyncProgress(peer=f"server{n}", ended_ns=1, is_equal=True) for n in (2, 3))
    desk.sync, second.sync = equal, (SyncProgress(peer="server1", ended_ns=1, differing=4, mended=1, is_equal=False),)
    cluster.down(2)
    told = await desk.status.overview(EVERYTHING)
    assert [(one.name, one.reachable, one.standing, one.behind) for one in told.servers] == [
        ("server1", True, Standing.IN_SYNC, 0),
        ("server2", True, Standing.BEHIND, 3),
        ("server3", False, Standing.UNKNOWN, 0),
    ]
    assert told.servers[2].status is None
    assert told.servers[2].reason == "refused the connection"
    assert msgspec.json.decode(msgspec.json.encode(told), type=Overview) == told


async def test_a_server_that_is_down_is_behind_by_what_it_is_owed(three: tuple[Servers, list[Desk]]) -> None:
    cluster, (desk, *_) = three
    cluster.down(2)
    await cluster[0].put(b"one")
    told = await desk.status.overview(EVERYTHING)
    assert (told.servers[2].standing, told.servers[2].behind) == (Standing.BEHIND, 1)


async def test_a_server_that_says_nothing_is_not_waited_for_long(three: tuple[Servers, list[Desk]]) -> None:
    _, (desk, silent, _) = three

    async def never(question: bytes = b"") -> bytes:
        return await asyncio.get_running_loop().create_future()

    silent.requests.report = never  # type: ignore[method-assign]
    desk.status._report_wait_s = 0.05
    line = (await desk.status.overview(EVERYTHING)).servers[1]
    assert (line.reachable, line.reason) == (False, "did not report within 0.05 s")


async def test_a_report_that_makes_no_sense_is_none(three: tuple[Servers, list[Desk]]) -> None:
    _, (desk, mad, _) = three

    async def nonsense(question: bytes = b"") -> bytes:
        return b'{"name": 5}'

    mad.requests.report = nonsense  # type: ignore[method-assign]
    line = (await desk.status.overview(EVERYTHING)).servers[1]
    assert not line.reachable
    assert "makes no sense" in (line.reason or "")


# --- which paths differ ---


async def test_what_any_server_knows_to_differ_is_listed_once_and_in_order(three: tuple[Servers, list[Desk]]) -> None:
    cluster, (desk, *_) = three
    for path in ("c", "a", "b"):
        lacking(cluster, 2, path)
    cluster[0].store.note_verdict(FilePath("b"), Kind.PARTIAL)
    cluster[1].store.note_verdict(FilePath("a"), Kind.PARTIAL)
    cluster[1].store.note_verdict(FilePath("b"), Kind.PARTIAL)
    cluster[2].store.note_verdict(FilePath("c"), Kind.PARTIAL)
    found = await differing(desk)
    assert [(one.verdict.path, one.verdict.kind) for one in found] == [(path, Kind.PARTIAL) for path in "abc"]
    assert all(one.since_ns is not None for one in found)
    assert [one.verdict.path for one in await differing(desk, "", "a")] == ["b", "c"]


async def test_what_agrees_by_now_is_left_out_and_forgotten(three: tuple[Servers, list[Desk]]) -> None:
    cluster, (desk, *_) = three
    await cluster[0].put(b"same everywhere")
    cluster[0].store.note_verdict(FilePath("notes.txt"), Kind.PARTIAL)
    assert await differing(desk) == []
    assert not cluster[0].store.is_difference(FilePath("notes.txt"))


async def test_only_the_kinds_that_were_asked_for(three: tuple[Servers, list[Desk]]) -> None:
    cluster, (desk, *_) = three
    lacking(cluster, 2, "lacking")
    cluster[0].store.note_verdict(FilePath("lacking"), Kind.PARTIAL)
    await cluster[0].put(b"mine", FilePath("rivals"), seen={})
    await cluster[0].put(b"yours", FilePath("rivals"), seen={})
    assert [one.verdict.path for one in await differing(desk, "", "", "diverged")] == ["rivals"]
    assert [one.verdict.path for one in await differing(desk, "", "", "partial")] == ["lacking"]
    assert [one.verdict.path for one in await differing(desk)] == ["lacking", "rivals"]


async def test_what_cannot_be_told_now_is_what_it_was(three: tuple[Servers, list[Desk]]) -> None:
    cluster, (desk, *_) = three
    cluster[0].store.put_outside("lost", b"content")
    cluster[0].store.note_verdict(FilePath("lost"), Kind.PARTIAL)
    cluster.down(1)
    cluster.down(2)
    (found,) = await differing(desk, "", "", "partial")
    assert found.verdict.kind is Kind.UNVERIFIED
    assert await differing(desk, "", "", "diverged") == []


async def test_only_below_the_folder_that_was_asked_for(three: tuple[Servers, list[Desk]]) -> None:
    cluster, (desk, *_) = three
    paths = ("a", "a-b", "a.txt", "a/one", "a/two", "a0", "b/one")
    for path in paths:
        lacking(cluster, 2, path)
        cluster[0].store.note_verdict(FilePath(path), Kind.PARTIAL)
    cluster[0].store.deem_estranged([FilePath(path) for path in ("a-c", "a/three", "a0/x")])
    lacking(cluster, 2, "a/three")
    assert [one.verdict.path for one in await differing(desk, "a")] == ["a/one", "a/three", "a/two"]
    assert [one.verdict.path for one in await differing(desk, "a", "a/one")] == ["a/three", "a/two"]


async def test_estranged_paths_are_marked(three: tuple[Servers, list[Desk]]) -> None:
    cluster, (desk, *_) = three
    cluster[2].store.put_outside("strange", b"content")
    cluster[0].store.deem_estranged([FilePath("strange")])
    (found,) = await differing(desk, "", "", "estranged")
    assert (found.estranged, found.verdict.kind) == (True, Kind.PARTIAL)
    assert (await desk.status.own(EVERYTHING)).estranged == 1


async def test_many_paths_come_page_by_page_and_a_silent_server_is_named(three: tuple[Servers, list[Desk]]) -> None:
    cluster, (desk, *_) = three
    paths = [f"{number:04}" for number in range(2 * PAGE_ENTRIES + 7)]
    for number, path in enumerate(paths):
        lacking(cluster, 2, path)
        cluster[number % 2].store.note_verdict(FilePath(path), Kind.PARTIAL)
    assert [one.verdict.path for one in await differing(desk)] == paths
    page = await desk.status.asked(cluster[0].name, Question(Part.PATHS), PathPage)
    assert (len(page.entries), page.more) == (PAGE_ENTRIES, True)
    cluster.down(1)
    known = KnownPaths(desk.status, desk.node.reader, EVERYTHING, None)
    async for _ in known.batches(frozenset()):
        pass
    assert known.servers() == [("server1", None), ("server2", "refused the connection"), ("server3", None)]


# --- odd copies ---


def odd(path: str, oddity: Oddity = Oddity.ROT) -> Finding:
    return Finding(FilePath(path), oddity, 7, Digest(b"t" * 32), None, "a remark")


async def test_odd_copies_of_all_servers_in_order_and_page_by_page(three: tuple[Servers, list[Desk]]) -> None:
    cluster, (desk, *_) = three
    for number in range(PAGE_ENTRIES + 20):
        cluster[0].store.note_finding(odd(f"{number:04}"))
        cluster[0].store.note_finding(odd(f"{number:04}", Oddity.OUTSIDE))
        cluster[1].store.note_finding(odd(f"{number:04}"))
    seen: list[tuple[str, str, str]] = []
    after: str | None = ""
    while after is not None:
        found = await findings_everywhere(desk.status, Question(after=after), 50)
        seen += [(one.path, name, one.oddity) for name, one in found.entries]
        after = found.next
    expected = [
        (f"{number:04}", server, oddity)
        for number in range(PAGE_ENTRIES + 20)
        for server, oddity in (("server1", "outside"), ("server1", "rot"), ("server2", "rot"))
    ]
    assert seen == expected


async def test_the_findings_of_a_run_stay_when_they_were_mended(three: tuple[Servers, list[Desk]]) -> None:
    cluster, (desk, other, _) = three
    other.recent.note(5, odd("mended"))
    other.recent.note(6, odd("of another run"))
    found = await findings_everywhere(desk.status, Question(number=5), 100)
    assert [(name, one.path, one.detail) for name, one in found.entries] == [("server2", "mended", "a remark")]
    cluster.down(1)
    found = await findings_everywhere(desk.status, Question(number=5), 100)
    assert found.entries == ()
    assert dict(found.servers)[cluster[1].name] == "refused the connection"


@pytest.mark.parametrize(
    ("paths", "more", "complaint"),
    [
        ([], True, "its report has no end"),
        (["a/2", "a/1"], False, "its report is out of order"),
        (["a/1", "a/1", "a/2"], False, None),
        (["a"], False, "its report is out of order"),
        (["b/1"], False, "its report is out of order"),
    ],
)
async def test_a_server_whose_report_cannot_be_merged_is_as_good_as_silent(
    three: tuple[Servers, list[Desk]],
    monkeypatch: pytest.MonkeyPatch,
    paths: list[str],
    more: bool,
    complaint: str | None,
) -> None:
    cluster, (desk, other, _) = three
    page = FindingPage(tuple(FoundCopy(path, "rot", 7) for path in paths), more)

    async def reported(_: bytes) -> bytes:
        return msgspec.json.encode(page)

    monkeypatch.setattr(other.status, "report", reported)
    cluster[0].store.note_finding(odd("a/3"))
    found = await findings_everywhere(desk.status, Question(prefix="a/", after="a"), 100)
    assert dict(found.servers)[cluster[1].name] == complaint
    told = [] if complaint else paths
    assert [one.path for _, one in found.entries] == [*told, "a/3"]


async def test_a_run_that_finds_a_copy_odd_again_tells_since_when_it_is(three: tuple[Servers, list[Desk]]) -> None:
    cluster, (desk, *_) = three
    for path in ("before", "still odd"):
        cluster[0].store.note_finding(odd(path)._replace(since_ns=3))
    for one in (odd("mended"), odd("still odd"), odd("still odd", Oddity.OUTSIDE)):
        desk.recent.note(5, one)
    found = await findings_everywhere(desk.status, Question(number=5), 100)
    assert [(one.path, one.oddity, one.since_ns) for _, one in found.entries] == [
        ("mended", "rot", 7),
        ("still odd", "outside", 7),
        ("still odd", "rot", 3),
    ]


async def test_a_page_of_findings_ends_with_a_whole_path(three: tuple[Servers, list[Desk]]) -> None:
    cluster, (desk, *_) = three
    for oddity in (Oddity.ROT, Oddity.OUTSIDE):
        for path in ("a", "b"):
            cluster[0].store.note_finding(odd(path, oddity))
    page = await desk.status.asked(cluster[0].name, Question(Part.FINDINGS, limit=3), FindingPage)
    assert ([one.path for one in page.entries], page.more) == (["a", "a"], True)


async def test_colliding_names_of_all_servers(three: tuple[Servers, list[Desk]]) -> None:
    cluster, (desk, *_) = three
    cluster[0].store._clashes = [NameClash("A", "a"), NameClash("x/B", "x/b")]
    cluster[1].store._clashes = [NameClash("A", "a")]
    found = await clashes_everywhere(desk.status, Question(), 100)
    assert [(one.path, name) for name, one in found.entries] == [("A", "server1"), ("A", "server2"), ("x/B", "server1")]


async def test_colliding_names_behind_many_others_are_told(three: tuple[Servers, list[Desk]]) -> None:
    cluster, (desk, *_) = three
    many = [NameClash(f"a/{number:04}", f"a/{number:04}~") for number in range(1000)]
    cluster[0].store._clashes = [*many, NameClash("photos/B", "photos/b")]
    assert (await desk.status.own(Prefix("photos"))).clashes == 1
    for question in (Question(prefix="photos/"), Question(after="a/0999")):
        found = await clashes_everywhere(desk.status, question, 100)
        assert [one.path for _, one in found.entries] == ["photos/B"]


async def test_a_page_of_colliding_names_ends_with_a_whole_path(three: tuple[Servers, list[Desk]]) -> None:
    """Several names may become the same one."""
    cluster, (desk, *_) = three
    cluster[0].store._clashes = [
        NameClash(f"{n:04}/name", f"{n:04}/{name}") for n in range(PAGE_ENTRIES) for name in ("NAME", "Name", "nAme")
    ]
    found = await clashes_everywhere(desk.status, Question(), 1000)
    assert (len(found.entries), found.next) == (3 * PAGE_ENTRIES, None)


# --- orders ---


async def test_an_order_reaches_all_servers_under_one_number(three: tuple[Servers, list[Desk]]) -> None:
    cluster, made = three
    desk = made[0]
    cluster.down(1)
    made[2].refusal = "has no time"
    number = desk.status.new_number()
    ordered = await desk.status.order(Work.SCAN, read_scope("a/"), number, desk.status.names)
    assert [(one.name, one.reached, one.reason) for one in ordered] == [
        ("server1", True, None),
        ("server2", False, "refused the connection"),
        ("server3", True, "has no time"),
    ]
    assert desk.orders == [(Work.SCAN, number, Prefix("a/"))]
    assert desk.status.new_number() > number


def test_a_scope_is_a_path_a_folder_or_everything() -> None:
    assert (read_scope(""), read_scope("a/"), read_scope("a")) == (Prefix(""), Prefix("a"), FilePath("a"))
    assert isinstance(read_scope("a"), FilePath)
    with pytest.raises(InvalidPath):
        read_scope("a/../b")


@pytest.mark.parametrize("raw", [b"{", b"[]", b'{"part": "gossip"}', b'{"prefix": "../x"}', b'{"after": "/a"}'])
def test_a_question_that_makes_no_sense(raw: bytes) -> None:
    with pytest.raises(InvalidQuery):
        read_question(raw)


async def test_what_sorts_before_a_folders_files_is_passed_over_page_by_page(three: tuple[Servers, list[Desk]]) -> None:
    store = three[0][0].store
    store.deem_estranged([FilePath(path) for path in ("a-b", "a-c", "a-d", "a.x", "a/1", "a/2", "a/3", "b/1")])
    assert [one.path for one in await known_here(store, Prefix("a"), None, 2)] == ["a/1", "a/2"]
    assert [one.path for one in await known_here(store, Prefix("a"), FilePath("a/2"), 2)] == ["a/3"]

"""The nearest version that rivals have in common."""

from __future__ import annotations

from accord.client.histories import common_ancestor
from accord.client.results import Event, History
from accord.model.names import FilePath, ServerName
from tests.client.scripted import digest_of

A, B, C, D, E = (digest_of(letter) for letter in (b"a", b"b", b"c", b"d", b"e"))


def event(at: int, digest: bytes | None, *supersedes: bytes | None, current: bool = False, kept: bool = True) -> Event:
    servers = (ServerName("server1"),) if kept else ()
    return Event(digest, f"2026-01-01T00:00:0{at}Z", "put", supersedes=supersedes, current=current, servers=servers)  # type: ignore[arg-type]


def history(*events: Event) -> History:
    return History(FilePath("x"), tuple(sorted(events, key=lambda one: one.at, reverse=True)))


def ancestor(*events: Event, rivals: tuple[bytes, ...]) -> bytes | None:
    found = common_ancestor(history(*events), rivals)  # type: ignore[arg-type]
    return None if found is None else found.digest


def test_the_version_both_replaced() -> None:
    told = event(1, A), event(2, B, A, current=True), event(3, C, A, current=True)
    assert ancestor(*told, rivals=(B, C)) == A


def test_the_nearest_of_a_line() -> None:
    told = event(1, A), event(2, B, A), event(3, C, B, current=True), event(4, D, B), event(5, E, D, current=True)
    assert ancestor(*told, rivals=(C, E)) == B


def test_a_clock_that_is_wrong_does_not_matter() -> None:
    told = event(9, A), event(2, B, A), event(3, C, B, current=True), event(4, D, B, current=True)
    assert ancestor(*told, rivals=(C, D)) == B


def test_what_nobody_keeps_is_passed_over() -> None:
    told = event(1, A), event(2, B, A, kept=False), event(3, C, B, current=True), event(4, D, B, current=True)
    assert ancestor(*told, rivals=(C, D)) == A


def test_no_ancestor() -> None:
    assert ancestor(event(1, A, current=True), event(2, B, current=True), rivals=(A, B)) is None
    assert ancestor(rivals=(A, B)) is None


def test_content_that_went_back_and_forth() -> None:
    told = event(1, A), event(2, B, A), event(3, A, B, current=True), event(4, C, B, current=True)
    assert ancestor(*told, rivals=(A, C)) == B


def test_a_deletion_between_breaks_no_line() -> None:
    """It has no bytes; what came before it is not found through it, and nothing wrong is merged."""
    told = event(1, A), event(2, None, A), event(3, B, None, current=True), event(4, C, A, current=True)
    assert ancestor(*told, rivals=(B, C)) is None

"""Every error has one shape, and every verdict that has nothing to send is the right error."""

from __future__ import annotations

import json

import pytest

from accord.errors import AccordError, InvalidPath, NoSuchPage, Unavailable
from accord.model.verdict import Absent, Checking, Kind, Unreachable
from accord.server.media import Form
from accord.server.problems import all_types, problem_of, render, rivals_refused, type_page
from tests.server.verdicts import DIVERGED, DOWN, IDENTICAL, MISSING, UNKNOWN, copy_of, damaged, tombstone, verdict_on


def told(error: AccordError, **options: object) -> dict:  # type: ignore[type-arg]
    problem = render(error, **options)  # type: ignore[arg-type]
    assert dict(problem.fields)[b"content-length"] == b"%d" % len(problem.body)
    return json.loads(problem.body)


def test_the_one_shape() -> None:
    problem = render(InvalidPath("It is empty.", extra={"more": 1}), path="x")
    fields = dict(problem.fields)
    assert problem.status == 400
    assert fields[b"content-type"] == b"application/problem+json"
    assert fields[b"cache-control"] == b"no-store"
    assert fields[b"x-content-type-options"] == b"nosniff"
    assert b"retry-after" not in fields
    assert json.loads(problem.body) == {
        "type": "/problems/invalid-path",
        "title": "Invalid Path",
        "status": 400,
        "detail": "It is empty.",
        "path": "x",
        "servers": [],
        "more": 1,
    }


def test_waiting_is_said_in_seconds() -> None:
    assert dict(render(Unavailable(retry_after_s=7)).fields)[b"retry-after"] == b"7"


def test_an_errors_own_fields_are_sent_once() -> None:
    error = AccordError()
    error.fields = ((b"x-own", b"1"),)
    names = [name for name, _ in render(error, fields=[(b"x-more", b"2")]).fields]
    assert (names.count(b"x-own"), names.count(b"x-more")) == (1, 1)


def test_text_that_is_no_unicode_does_not_break_the_answer() -> None:
    assert told(InvalidPath("bad \ud800", path="\udcff"))["path"] == "?"


@pytest.mark.parametrize(
    ("verdict", "kind", "status", "words"),
    [
        (MISSING, "not-found", 404, "No server has 'a/hello.txt': server1 and server2 both said so."),
        (
            UNKNOWN,
            "unknown",
            503,
            "server1 lacks 'a/hello.txt', but server2 (no answer within 1 s) did not answer. Try again.",
        ),
        (
            verdict_on("f", DOWN, Unreachable("refused")),
            "unknown",
            503,
            "Nobody could say whether 'f' exists: server1 (no answer within 1 s) and server2 (refused) did not answer. Try again.",
        ),
        (
            verdict_on("f", Absent(), Checking(1, 2)),
            "still-checking",
            503,
            "server1 lacks 'f', but server2 (1 of 2 bytes hashed) did not answer. Try again.",
        ),
        (
            verdict_on("f", tombstone(), Absent(), DOWN),
            "deleted",
            410,
            "'f' was deleted (known to server1). But 3rd.server (no answer within 1 s) did not answer.",
        ),
        (
            verdict_on("f", damaged(b"x"), Absent()),
            "damaged",
            500,
            "Every copy of 'f' that answered is damaged: server1 (its bytes changed).",
        ),
        (
            verdict_on("photos", Absent("a folder"), Absent()),
            "not-found",
            404,
            "'photos' is a folder: `accord ls photos` lists it.",
        ),
        (verdict_on("f", Absent()), "not-found", 404, "server1 does not have 'f', and there is no other server."),
    ],
)
def test_verdicts_without_bytes(verdict, kind: str, status: int, words: str) -> None:  # type: ignore[no-untyped-def]
    error = problem_of(verdict)
    assert error is not None
    problem = told(error)
    assert (problem["type"], problem["status"], problem["detail"]) == (f"/problems/{kind}", status, words)
    assert problem["path"] == verdict.path
    assert problem["verdict"] == verdict.kind.value
    assert [one["name"] for one in problem["servers"]] == [one.name for one in verdict.servers]
    assert (b"retry-after" in dict(render(error).fields)) == (status == 503)


def test_verdicts_with_something_to_send_are_no_problem() -> None:
    for verdict in (
        IDENTICAL,
        DIVERGED,
        verdict_on("f", copy_of(b"x"), Absent()),
        verdict_on("f", copy_of(b"x"), DOWN),
    ):
        assert verdict.kind is not Kind.MISSING
        assert problem_of(verdict) is None


def test_rivals_can_be_refused() -> None:
    problem = told(rivals_refused(DIVERGED))
    assert (problem["type"], problem["status"]) == ("/problems/rival-versions", 409)
    assert problem["verdict"] == "diverged"
    assert len(problem["versions"]) == 2
    assert [one["state"] for one in problem["servers"]] == ["rival", "rival"]


def test_a_browser_reads_the_same_words_and_runs_nothing() -> None:
    verdict = verdict_on("<img src=x onerror=alert(1)>", Absent(), Absent(obstacle="<b>folder</b>"))
    error = problem_of(verdict)
    assert error is not None
    problem = render(error, form=Form.HTML)
    page = problem.body.decode()
    assert dict(problem.fields)[b"content-type"] == b"text/html; charset=utf-8"
    assert b"default-src 'none'" in dict(problem.fields)[b"content-security-policy"]
    assert "<h1>File Not Found</h1>" in page
    assert "&lt;img src=x" in page
    assert "<img" not in page
    assert "<b>" not in page
    assert "<script" not in page
    assert "server1" in page
    assert b"server2" in render(rivals_refused(DIVERGED), form=Form.HTML).body


def test_a_browser_that_asks_for_a_folder_is_led_to_it() -> None:
    error = problem_of(verdict_on("my photos", Absent("a folder"), Absent("a folder")))
    assert error is not None
    assert '<a href="/list/my%20photos/">' in render(error, form=Form.HTML).body.decode()
    assert told(error)["folder"] == "/list/my%20photos/"
    assert "folder" not in told(problem_of(MISSING) or AccordError())


def test_every_problem_type_has_its_page() -> None:
    types = all_types()
    assert {"not-found", "unknown", "rival-versions", "damaged", "no-such-page"} <= set(types)
    for name, kind in types.items():
        assert kind.title.encode() in type_page(name)
    with pytest.raises(NoSuchPage):
        type_page("<script>")

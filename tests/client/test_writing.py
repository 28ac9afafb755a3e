"""Writing: what goes out, what comes back, and what is never sent twice."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from accord import AsyncClient, Client
from accord.client import expect
from accord.client.answers import worth_asking_another
from accord.client.source import BLOCK_BYTES
from accord.errors import (
    AccordError,
    DiskFull,
    IntegrityError,
    InvalidQuery,
    NotFound,
    PreconditionFailed,
    RivalVersions,
    TooFewCopies,
    Unavailable,
    UsageError,
    WriteUnclear,
)
from accord.model.verdict import Kind
from tests.client.scripted import Serve, digest_of
from tests.client.writable import CutOff, Refusal, Writable

TEXT = b"This is a test"
LARGE = os.urandom(3 * BLOCK_BYTES + 17)


@pytest.fixture
def there(serve: Serve) -> Iterator[tuple[Writable, Client]]:
    """A server that takes writes, and a client for it."""
    script, url = serve(Writable())
    with Client(url) as client:
        yield script, client


def test_bytes_go_out_with_their_digest_and_the_answer_says_who_has_them(there: tuple[Writable, Client]) -> None:
    script, client = there
    script.late = {"server2": "refused the connection"}
    written = client.put("a/hello.txt", TEXT, author="Anna Łąka", message="first\u00a0words, 100%", min_copies=1)
    assert (written.path, written.digest, written.size, written.is_new) == ("a/hello.txt", digest_of(TEXT), 14, True)
    assert written.stored == ("server1",)
    assert [(one.name, one.reason) for one in written.missing] == [("server2", "refused the connection")]
    assert written.author == "Anna Łąka"
    (got,) = script.received
    assert got.target == "/files/a/hello.txt?min_copies=1"
    assert got.body == TEXT
    assert got.fields["Accord-Digest"] == str(digest_of(TEXT))
    assert got.fields["Content-Length"] == "14"
    assert "Expect" not in got.fields
    assert "Transfer-Encoding" not in got.fields


def test_a_file_takes_its_time_and_its_executable_bit_with_it(there: tuple[Writable, Client], tmp_path: Path) -> None:
    script, client = there
    file = tmp_path / "run.sh"
    file.write_bytes(TEXT)
    file.chmod(0o755)
    os.utime(file, ns=(0, 1_700_000_000_123_456_789))
    client.put("run.sh", file)
    assert script.received[0].fields["Accord-Modified"] == "2023-11-14T22:13:20.123456789Z"
    assert script.received[0].fields["Accord-Executable"] == "?1"


def test_a_large_body_waits_for_leave(there: tuple[Writable, Client], tmp_path: Path) -> None:
    script, client = there
    (tmp_path / "large").write_bytes(LARGE)
    seen: list[tuple[int, int | None]] = []
    client.put("large", tmp_path / "large", progress=lambda done, total: seen.append((done, total)))
    assert script.received[0].fields["Expect"] == "100-continue"
    assert script.received[0].body == LARGE
    assert seen[-1] == (len(LARGE), len(LARGE))
    client.put("small", TEXT)  # the same connection goes on


def test_a_refusal_comes_before_the_body(there: tuple[Writable, Client]) -> None:
    script, client = there
    script.put("notes.txt", server1=b"one", server2=b"two")
    sent: list[int] = []
    with pytest.raises(RivalVersions) as refused:
        client.put("notes.txt", LARGE, progress=lambda done, _: sent.append(done))
    assert len(refused.value.extra["versions"]) == 2
    assert sent == []
    assert script.received[0].body is None


@pytest.mark.parametrize("how", ["pipe", "pieces"])
def test_content_of_unknown_length_is_sent_in_chunks(there: tuple[Writable, Client], how: str) -> None:
    script, client = there
    if how == "pipe":
        reading, writing = os.pipe()
        os.write(writing, TEXT)
        os.close(writing)
        with open(reading, "rb") as pipe:
            written = client.put("x", pipe)
    else:
        written = client.put("x", (piece for piece in (TEXT[:5], b"", TEXT[5:])))
    assert written.digest == digest_of(TEXT)
    assert script.received[0].fields["Transfer-Encoding"] == "chunked"
    assert script.received[0].body == TEXT


def test_a_seekable_file_is_sent_from_where_it_stands(there: tuple[Writable, Client]) -> None:
    script, client = there
    file = io.BytesIO(b"before" + TEXT)
    file.seek(6)
    client.put("x", file)
    assert script.received[0].body == TEXT
    assert script.received[0].fields["Content-Length"] == "14"


def test_an_empty_file(there: tuple[Writable, Client]) -> None:
    script, client = there
    assert client.put("empty", b"").size == 0
    assert script.received[0].body == b""


def test_conditions_and_context(there: tuple[Writable, Client]) -> None:
    script, client = there
    client.put("x", b"1", if_none_match="*")
    with pytest.raises(PreconditionFailed):
        client.put("x", b"2", if_none_match="*")
    with pytest.raises(PreconditionFailed):
        client.put("x", b"2", if_match=str(digest_of(b"0")))
    client.put("x", b"2", if_match=[digest_of(b"1").hex(), str(digest_of(b"0"))], context="token")
    assert script.received[-1].fields["Accord-Context"] == "token"
    with pytest.raises(InvalidQuery):
        client.put("x", b"3", if_match="0123456789ab")
    with pytest.raises(UsageError):
        client.put("x", b"3", min_copies=0)


def test_a_dead_server_is_passed_over(serve: Serve, dead_url: str) -> None:
    script, url = serve(Writable())
    with Client(dead_url, url) as client:
        assert client.put("x", TEXT).stored == ("server1", "server2")
    assert len(script.received) == 1


@pytest.mark.parametrize("content", [TEXT, LARGE], ids=["small", "large"])
def test_a_server_that_cannot_tell_now_is_passed_over(serve: Serve, content: bytes) -> None:
    first, url1 = serve(Writable(next=[Refusal(503, "unavailable")]))
    second, url2 = serve(Writable())
    with Client(url1, url2) as client:
        client.put("x", content)
    assert (first.received[0].body, second.received[0].body) == (None, content)


def test_a_full_disk_is_passed_over_before_the_body_and_told_if_there_is_no_other(serve: Serve) -> None:
    script, url = serve(Writable(next=[Refusal(507, "disk-full")]))
    with Client(url) as client, pytest.raises(DiskFull):
        client.put("x", LARGE)
    assert script.received[0].body is None


def test_too_few_copies_is_never_offered_to_another_server(serve: Serve) -> None:
    """It is stored already."""
    told = {"stored": ["server1"], "missing": [{"name": "server2", "reason": "down"}]}
    _, url1 = serve(Writable(next=[Refusal(503, "too-few-copies", told, after_body=True)]))
    second, url2 = serve(Writable())
    with Client(url1, url2) as client, pytest.raises(TooFewCopies) as few:
        client.put("x", TEXT, min_copies=2)
    assert few.value.extra["stored"] == ["server1"]
    assert second.received == []


def test_too_few_copies_that_were_seen_beforehand_may_be_more_elsewhere(serve: Serve) -> None:
    told = {"stored": [], "missing": [{"name": "server2", "reason": "down"}]}
    _, url1 = serve(Writable(next=[Refusal(503, "too-few-copies", told)]))
    second, url2 = serve(Writable())
    with Client(url1, url2) as client:
        client.put("x", TEXT, min_copies=2)
    assert second.received[0].body == TEXT


def test_a_connection_that_broke_within_the_body_stored_nothing_and_the_next_server_gets_it_all(serve: Serve) -> None:
    _, url1 = serve(Writable(next=[CutOff(after_bytes=100)]))
    second, url2 = serve(Writable())
    content = LARGE * 8
    with Client(url1, url2) as client:
        client.put("x", content)
    assert second.received[0].body == content


def test_what_cannot_be_read_twice_is_not_half_sent_again(serve: Serve) -> None:
    _, url1 = serve(Writable(next=[CutOff(after_bytes=100)]))
    second, url2 = serve(Writable())
    with Client(url1, url2) as client, pytest.raises(Unavailable) as broken:
        client.put("x", iter([LARGE] * 8))
    assert not isinstance(broken.value, WriteUnclear)
    assert second.received == []


@pytest.mark.parametrize("is_done", [True, False])
def test_after_an_unclear_end_nothing_is_sent_again_and_the_client_looks(serve: Serve, is_done: bool) -> None:
    first, url1 = serve(Writable(next=[CutOff(is_done=is_done)]))
    second, url2 = serve(Writable(copies=first.copies))
    with Client(url1, url2) as client, pytest.raises(WriteUnclear) as unclear:
        client.put("x", TEXT)
    assert second.received == []
    assert ("is there now, on server1, server2" in unclear.value.detail) is is_done
    assert ("not there now" in unclear.value.detail) is not is_done
    assert (unclear.value.type, unclear.value.exit_code) == ("write-unclear", 1)
    assert not isinstance(unclear.value, Unavailable), "whoever tries again what is not available would do it twice"
    assert not worth_asking_another(unclear.value)


def test_an_unclear_deletion_is_told(serve: Serve) -> None:
    script, url = serve(Writable(next=[CutOff()]))
    script.put("x", server1=TEXT, server2=TEXT)
    with Client(url) as client, pytest.raises(WriteUnclear, match="did not say whether x was deleted"):
        client.delete("x")


def test_a_stored_digest_that_is_not_what_was_sent_is_an_integrity_error(there: tuple[Writable, Client]) -> None:
    script, client = there

    answer = {
        "path": "x",
        "digest": str(digest_of(b"another")),
        "size": 7,
        "modified": None,
        "author": "",
        "is_new": True,
        "stored": ["server1"],
        "missing": [],
        "result": {"path": "x", "verdict": "identical"},
    }
    script.next = [Refusal(200, "none", answer, after_body=True)]
    with pytest.raises(IntegrityError, match="not what was sent"):
        client.put("x", iter([TEXT]))


def test_a_file_that_changes_while_it_is_sent_is_not_stored(there: tuple[Writable, Client], tmp_path: Path) -> None:
    script, client = there
    file = tmp_path / "growing"
    file.write_bytes(LARGE)

    def grow(done: int, _: int | None) -> None:
        if done == BLOCK_BYTES:
            with file.open("ab") as more:
                more.write(b"more")

    with pytest.raises(AccordError, match="was changed while it was read"):
        client.put("x", file, progress=grow)
    assert "x" not in script.copies


def test_copy_move_restore_and_delete_send_no_content(there: tuple[Writable, Client]) -> None:
    script, client = there
    client.put("a b.txt", TEXT)
    client.copy("a b.txt", "copy.txt")
    assert script.received[-1].fields["Accord-Source"] == "/files/a%20b.txt"
    assert client.read("copy.txt").content == TEXT
    client.move("a b.txt", "moved.txt")
    assert script.received[-1].fields["Accord-Move"] == "?1"
    assert client.stat("a b.txt").verdict is Kind.DELETED
    client.restore("copy.txt", digest_of(TEXT).hex()[:16], message="back")
    assert (
        script.received[-1].fields["Accord-Source"] == f"/files/copy.txt?version=blake3%3A{digest_of(TEXT).hex()[:16]}"
    )
    gone = client.delete("copy.txt")
    assert (gone.digest, gone.result.verdict) == (None, Kind.DELETED)
    with pytest.raises(NotFound):
        client.delete("nothing")
    assert all(not one.body for one in script.received[1:])


def test_history(there: tuple[Writable, Client]) -> None:
    script, client = there
    client.put("x", b"1", message="one")
    client.put("x", b"2")
    history = client.history("x")
    assert [event.digest for event in history.events] == [digest_of(b"2"), digest_of(b"1")]
    assert history.events[0].supersedes == (digest_of(b"1"),)
    assert history.events[1].message == "one"
    assert history.silent == ()
    script.history_silent = ("server2",)
    assert [one.name for one in client.history("x").silent] == ["server2"]
    with pytest.raises(NotFound):
        client.history("nothing")


async def test_the_client_with_a_loop_sends_the_same(serve: Serve, dead_url: str, tmp_path: Path) -> None:
    script, url = serve(Writable())
    (tmp_path / "large").write_bytes(LARGE)

    async def pieces() -> AsyncIterator[bytes]:
        yield TEXT[:3]
        yield TEXT[3:]

    async with AsyncClient(dead_url, url) as client:
        await client.put("large", tmp_path / "large")
        await client.put("pieces", pieces())
        assert (await client.read("pieces")).content == TEXT
        script.put("notes.txt", server1=b"one", server2=b"two")
        with pytest.raises(RivalVersions):
            await client.put("notes.txt", LARGE)
        await client.copy("pieces", "copy")
        await client.delete("copy")
        assert len((await client.history("copy")).events) == 2
    assert [one.body for one in script.received[:3]] == [LARGE, TEXT, None]


def test_content_that_is_none_is_refused(there: tuple[Writable, Client], tmp_path: Path) -> None:
    _, client = there
    with pytest.raises(UsageError):
        client.put("x", tmp_path)
    with pytest.raises(AccordError, match="No such file"):
        client.put("x", tmp_path / "nothing")
    with pytest.raises(UsageError):
        client.put("x", 7)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"encode it, or name a file with pathlib\.Path"):
        client.put("x", "text")


def test_a_device_is_read_and_not_measured(there: tuple[Writable, Client]) -> None:
    script, client = there
    with open("/dev/null", "rb") as nothing:
        assert client.put("x", nothing).size == 0
    assert script.received[0].fields["Transfer-Encoding"] == "chunked"


def test_a_server_that_gives_no_leave_gets_the_body_in_the_end(
    there: tuple[Writable, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    script, client = there
    script.is_mute = True
    monkeypatch.setattr(expect, "MAX_WAIT_S", 0.05)
    client.put("x", LARGE)
    assert script.received[0].body == LARGE

"""PUT and DELETE over a real socket, on servers in memory: what is refused, when, and what an answer tells."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from accord.model.names import FilePath
from accord.server.metrics import Outcome
from tests.server.live import Client, Live, live
from tests.server.verdicts import digest_of

LARGE = bytes(range(256)) * 12_000
F = "/files/a/f.txt"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Live]:
    async with live(tmp_path) as running:
        yield running


@pytest.fixture
async def client(server: Live) -> AsyncIterator[Client]:
    async with server.client() as one:
        yield one


def content_of(server: Live, number: int = 0, path: str = "a/f.txt") -> bytes | None:
    file = server.cluster[number].store.files.get(FilePath(path))
    return None if file is None else file.content


async def test_a_put_tells_who_has_it(server: Live, client: Client) -> None:
    made = await client.put(F, b"one")
    assert made.status == 201
    told = made.json()
    assert told["path"] == "a/f.txt"
    assert told["digest"] == str(digest_of(b"one"))
    assert (told["size"], told["is_new"], told["author"]) == (3, True, "server1")
    assert (told["stored"], told["missing"]) == (["server1", "server2"], [])
    assert told["result"]["verdict"] == "identical"
    assert made.headers["etag"] == f'"{digest_of(b"one")}"'
    assert made.headers["accord-verdict"] == "identical"
    assert made.headers["accord-stored"] == '"server1", "server2"'
    assert made.headers["cache-control"] == "no-store"
    assert made.headers["accord-context"] == told["result"]["context"]
    assert content_of(server) == content_of(server, 1) == b"one"
    again = await client.put(F, b"two!")
    assert (again.status, again.json()["is_new"]) == (200, False)
    assert (await client.ask("GET", F)).body == b"two!"
    assert server.services.metrics.writes(Outcome.CREATED) == server.services.metrics.writes(Outcome.REPLACED) == 1
    assert server.services.metrics.received_bytes == 7


async def test_large_and_empty_and_chunked_content(server: Live, client: Client) -> None:
    assert (await client.put(F, LARGE)).json()["size"] == len(LARGE)
    assert content_of(server, 1) == LARGE
    assert (await client.put(F)).json()["size"] == 0
    client.head("PUT", F, Transfer_Encoding="chunked")
    for at in range(0, len(LARGE), 100_000):
        piece = LARGE[at : at + 100_000]
        client.say(b"%x\r\n%b\r\n" % (len(piece), piece))
        await client.writer.drain()
    client.say(b"0\r\n\r\n")
    assert (await client.answer()).status == 200
    assert content_of(server) == LARGE


async def test_a_deletion(server: Live, client: Client) -> None:
    await client.put(F, b"one")
    gone = await client.ask("DELETE", F)
    assert (gone.status, gone.json()["digest"], gone.json()["stored"]) == (200, None, ["server1", "server2"])
    assert "etag" not in gone.headers
    assert gone.headers["accord-verdict"] == "deleted"
    assert (await client.ask("GET", F)).status == 410
    assert (await client.ask("DELETE", F)).status == 410
    assert (await client.ask("DELETE", "/files/never")).status == 404
    assert (await client.put(F, b"two")).status == 201


async def test_conditions(client: Client) -> None:
    first = await client.put(F, b"one", If_None_Match="*")
    assert (await client.put(F, b"two", If_None_Match="*")).status == 412
    assert (await client.put(F, b"two", If_Match='"blake3:0000", W/"x"')).status == 412
    assert (await client.put("/files/new", b"two", If_Match="*")).status == 412
    refused = await client.put(F, b"two", If_Match=f'"{digest_of(b"other")}"')
    assert refused.json()["type"] == "/problems/precondition-failed"
    assert refused.json()["versions"][0]["digest"] == str(digest_of(b"one"))
    assert (await client.put(F, b"two", If_Match=f'"nonsense", {first.headers["etag"]}')).status == 200
    assert (await client.ask("DELETE", F, If_Match=first.headers["etag"])).status == 412
    assert (await client.ask("DELETE", F, If_Match="*")).status == 200


async def test_rivals_are_not_buried_by_accident(server: Live, client: Client) -> None:
    for number, content in enumerate((b"mine", b"theirs")):
        server.cluster[number].store.put_outside("f", content)
    refused = await client.put("/files/f", b"new")
    assert refused.status == 409
    assert refused.json()["type"] == "/problems/rival-versions"
    assert len(refused.json()["versions"]) == 2
    choices = await client.ask("GET", "/files/f")
    assert choices.status == 300
    busy = await client.put("/files/other", b"x")
    for number in range(3):
        busy = await client.put("/files/other", b"%d" % number)
    mixed_up = await client.put("/files/f", b"new", Accord_Context=busy.headers["accord-context"])
    assert (mixed_up.status, "of another path" in mixed_up.json()["detail"]) == (400, True)
    resolved = await client.put("/files/f", b"new", Accord_Context=choices.headers["accord-context"])
    assert (resolved.status, resolved.headers["accord-verdict"]) == (200, "identical")


async def test_who_when_and_why(server: Live, client: Client) -> None:
    made = await client.put(
        F,
        b"one",
        Accord_Author=quote("Zoë"),
        Accord_Message=quote("because: 50% done"),
        Accord_Modified="2026-01-31T12:00:00.123456789Z",
        Accord_Executable="?1",
    )
    assert made.json()["author"] == "Zoë"
    assert made.json()["modified"] == "2026-01-31T12:00:00.123456Z"
    answer = await client.ask("GET", F)
    assert answer.headers["accord-version"].endswith(";executable")
    history = (await client.ask("GET", "/history/a/f.txt")).json()
    assert history["events"][0]["message"] == "because: 50% done"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Accord_Author", "Zo\u00eb"),
        ("Accord_Author", "x" * 201),
        ("Accord_Message", "two%0Alines"),
        ("Accord_Message", "%C3"),
        ("Accord_Message", "%zz"),
        ("Accord_Modified", "2026-01-31T12:00:00"),
        ("Accord_Modified", "2026-02-31T12:00:00Z"),
        ("Accord_Modified", "1969-12-31T23:59:59Z"),
        ("Accord_Modified", "9999-12-31T23:59:59Z"),
        ("Accord_Executable", "yes"),
        ("Accord_Context", "nonsense"),
        ("Accord_Digest", "blake3:1234"),
        ("Accord_Digest", "sha256:" + "0" * 64),
        ("Content_Digest", "sha-256=:AAAA:"),
        ("Content_Digest", "sha-256=word"),
        ("Repr_Digest", "sha-256=:!!:"),
        ("If_None_Match", '"one"'),
        ("If_Unmodified_Since", "Sat, 29 Oct 1994 19:43:31 GMT"),
        ("Content_Range", "bytes 0-1/2"),
        ("Accord_Move", "?1"),
        ("Accord_Source", "/list/a"),
        ("Accord_Source", "/files/other?rivals=fail"),
        ("Accord_Source", "/files/other"),
    ],
)
async def test_fields_that_make_no_sense(server: Live, client: Client, name: str, value: str) -> None:
    answer = await client.put(F, b"one", **{name: value})
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert content_of(server) is None
    assert (await client.put(F, b"one")).status == 201, "the connection goes on"


async def test_a_request_without_content_empties_no_file(server: Live, client: Client) -> None:
    await client.put(F, b"one")
    assert (await client.ask("PUT", F)).status == 400
    assert content_of(server) == b"one"


async def test_other_refusals(server: Live, client: Client) -> None:
    assert (await client.put(F, b"one", Content_Encoding="gzip")).status == 415
    assert (await client.put(F, b"one", Content_Encoding="identity")).status == 201
    assert (await client.put(f"{F}?min_copies=0", b"one")).status == 400
    assert (await client.put(f"{F}?version=1", b"one")).status == 400
    assert (await client.put("/files/.accord/x", b"one")).status == 400
    assert (await client.put("/files/a/../x", b"one")).status == 400
    assert (await client.put("/files/a/f.txt/x", b"one")).status == 409
    assert (await client.put("/files/a", b"one")).status == 409
    assert (await client.put("/files/g?min_copies=3", b"one")).status == 400, "there are only two servers"


async def test_digests_are_checked(server: Live, client: Client) -> None:
    sha = base64.b64encode(hashlib.sha256(LARGE).digest()).decode()
    sha512 = base64.b64encode(hashlib.sha512(LARGE).digest()).decode()
    good = {
        "Content_Digest": f"md5=:AAAA:, sha-256=:{sha}:;x=1, sha-512=:{sha512}:",
        "Repr_Digest": f"sha-256=:{sha}:",
        "Accord_Digest": str(digest_of(LARGE)),
    }
    assert (await client.put(F, LARGE, **good)).status == 201
    other = base64.b64encode(bytes(32)).decode()
    for bad in (
        {"Content_Digest": f"sha-256=:{other}:"},
        {"Repr_Digest": f"sha-256=:{other}:"},
        {"Accord_Digest": str(digest_of(b""))},
    ):
        answer = await client.put(F, b"changed", **bad)
        assert (answer.status, answer.json()["type"]) == (400, "/problems/content-mismatch")
    assert content_of(server) == content_of(server, 1) == LARGE


async def test_copies_and_moves_send_nothing(server: Live, client: Client) -> None:
    await client.put(F, b"one")
    copied = await client.put("/files/copy%20of", Accord_Source=F)
    assert (copied.status, copied.json()["digest"]) == (201, str(digest_of(b"one")))
    moved = await client.put("/files/there", Accord_Source="/files/copy%20of", Accord_Move="?1")
    assert moved.status == 201
    assert (await client.ask("GET", "/files/copy%20of")).status == 410
    await client.put(F, b"two")
    restored = await client.put(F, Accord_Source=f"{F}?version={digest_of(b'one')}")
    assert restored.status == 200
    assert content_of(server) == content_of(server, 1) == b"one"
    assert (await client.put("/files/new", Accord_Source="/files/nothing")).status == 404


async def test_a_history(server: Live, client: Client) -> None:
    await client.put(F, b"one")
    await client.put(F, b"two", Accord_Author="Ann")
    await client.ask("DELETE", F)
    answer = await client.ask("GET", "/history/a/f.txt")
    told = answer.json()
    assert told["path"] == "a/f.txt"
    assert [(one["deed"], one["current"]) for one in told["events"]] == [
        ("delete", True),
        ("put", False),
        ("put", False),
    ]
    deletion, second, first = told["events"]
    assert deletion["digest"] is None
    assert deletion["href"] is None
    assert (deletion["supersedes"], second["supersedes"], first["supersedes"]) == (
        [second["digest"]],
        [first["digest"]],
        [],
    )
    assert second["author"] == "Ann"
    assert second["servers"] == ["server1", "server2"]
    assert told["servers"] == [{"name": "server1", "state": "answered"}, {"name": "server2", "state": "answered"}]
    old = await client.ask("GET", first["href"])
    assert (old.status, old.body) == (200, b"one")
    page = await client.ask("GET", "/history/a/f.txt", Accept="text/html")
    assert page.headers["content-type"].startswith("text/html")
    assert first["href"] in page.body.decode()
    assert (await client.ask("GET", "/history/nothing")).status == 404
    server.cluster.down(1)
    assert (await client.ask("GET", "/history/nothing")).status == 503
    silent = (await client.ask("GET", "/history/a/f.txt")).json()["servers"][1]
    assert (silent["name"], silent["state"]) == ("server2", "unreachable")


async def test_who_is_away_gets_it_later(server: Live, client: Client) -> None:
    server.cluster.down(1)
    told = (await client.put(F, b"one")).json()
    assert told["stored"] == ["server1"]
    assert told["missing"][0]["name"] == "server2"
    assert (await client.ask("GET", "/ready")).json()["owed"] == [{"name": "server2", "paths": 1, "lost": False}]
    refused = await client.put(f"{F}?min_copies=2", b"two")
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["type"] == "/problems/too-few-copies"
    assert refused.json()["missing"][0]["name"] == "server2"


async def test_a_cut_connection_leaves_nothing_behind(server: Live) -> None:
    metrics = server.services.metrics
    for count, is_half in enumerate((False, True), start=1):
        async with server.client() as client:
            client.head("PUT", F, Content_Length=str(len(LARGE)))
            client.say(LARGE[:2_000_000])
            await client.writer.drain()
            while not server.node.store.open_stagings:  # noqa: ASYNC110
                await asyncio.sleep(0)
            if is_half:
                client.writer.write_eof()
            else:
                client.writer.transport.abort()
            async with asyncio.timeout(10):
                while metrics.writes(Outcome.CUT_OFF) < count:  # noqa: ASYNC110
                    await asyncio.sleep(0)
        assert server.node.store.open_stagings == server.cluster[1].store.open_stagings == 0
    assert content_of(server) is None


async def test_a_full_disk_is_said_before_the_body(server: Live, client: Client) -> None:
    server.node.store.capacity_bytes = 1000
    client.head("PUT", F, Content_Length="100000000", Expect="100-continue")
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (507, "close")
    assert await client.is_over()

"""What a caller gives and nobody can use is refused as Accord's own error, before anything is sent; by both faces alike."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from accord import AsyncClient, Client
from accord.errors import UsageError
from tests.client.scripted import Serve
from tests.client.writable import Writable

NO_TEXT = "\udcff"


async def pieces() -> AsyncIterator[bytes]:
    yield b"x"


# Either client: what it returns is awaited where it can be.
UNUSABLE: dict[str, Callable[[Any], Any]] = {
    "author": lambda client: client.put("x", b"x", author=NO_TEXT),
    "message": lambda client: client.put("x", b"x", message=NO_TEXT),
    "message that is no text": lambda client: client.delete("x", message=7),
    "context": lambda client: client.put("x", b"x", context="ä"),
    "context of two lines": lambda client: client.put("x", b"x", context="a\r\nb: c"),
    "modified": lambda client: client.put("x", b"x", modified="gestern früh"),
    "if_match without a digest": lambda client: client.put("x", b"x", if_match=[]),
    "if_match that is no text": lambda client: client.put("x", b"x", if_match=5),
    "min_copies": lambda client: client.put("x", b"x", min_copies="2"),
    "half a copy": lambda client: client.put("x", b"x", min_copies=1.5),
    "if_none_match": lambda client: client.put("x", b"x", if_none_match="blake3:00"),
    "if_none_match of a copy": lambda client: client.copy("x", "y", if_none_match=""),
    "version": lambda client: client.read("x", version=5),
    "verify": lambda client: client.read("x", verify=NO_TEXT),
    "scope": lambda client: client.scan(f"{NO_TEXT}/"),
    "scope that is no path": lambda client: client.scrub("a//b"),
    "server": lambda client: client.sync(servers=[NO_TEXT]),
    "server of a pause": lambda client: client.pause(servers=["a b"]),
    "destination": lambda client: client.download("x", "a\0b"),
    "destination that no disk can name": lambda client: client.download("x", "\ud800"),
    "destination that is none": lambda client: client.download("x", 5),
    "source": lambda client: client.put("x", Path("a\0b")),
    "pieces": lambda client: client.put("x", ["text"]),
    "open text": lambda client: client.put("x", io.StringIO("text")),
}


@pytest.mark.parametrize("call", UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_used_is_a_usage_error(serve: Serve, call: Callable[[Any], Any]) -> None:
    script, url = serve(Writable())
    with Client(url) as client, pytest.raises(UsageError):
        call(client)
    assert not [one for one in script.received if one.body is not None]
    assert script.seen == []

    async def with_a_loop() -> None:
        async with AsyncClient(url) as client:
            await call(client)

    with pytest.raises(UsageError):
        asyncio.run(with_a_loop())
    assert script.seen == []


def test_kinds_that_are_no_text(serve: Serve) -> None:
    _, url = serve()
    with Client(url) as client, pytest.raises(UsageError):
        client.differences(kinds=[NO_TEXT])


def test_asynchronous_pieces_need_the_client_with_a_loop(serve: Serve) -> None:
    script, url = serve(Writable())
    with Client(url) as client, pytest.raises(UsageError, match="AsyncClient"):
        client.put("x", pieces())
    assert script.received == []


def test_an_address_that_is_no_text() -> None:
    with pytest.raises(UsageError):
        Client(f"http://{NO_TEXT}")


def test_a_client_may_be_closed_twice() -> None:
    client = Client("http://127.0.0.1:1")
    client.close()
    client.close()


@pytest.mark.parametrize("face", [Client, AsyncClient])
def test_every_public_name_says_what_it_does(face: type) -> None:
    silent = [name for name, what in vars(face).items() if not name.startswith("_") and not what.__doc__]
    assert silent == []


def test_both_faces_promise_the_same() -> None:
    """But for how a loop is written, and what only a loop has."""
    raised = re.compile(r"`([A-Z]\w+)`")
    for name, what in vars(AsyncClient).items():
        if not name.startswith("_"):
            assert raised.findall(what.__doc__) == raised.findall(vars(Client)[name].__doc__), name

"""An order is given once: to the first server that can be reached, and to no other once one may have it."""

from __future__ import annotations

import pytest

import accord
from accord.errors import StoreFailed, Unavailable, WriteUnclear
from tests.client.scripted import Script, Serve
from tests.client.writable import Refusal, Writable, WritingHandler


class OrderedAround(Writable):
    """Takes orders; `next` holds how the next ones are refused."""

    @property
    def handler(self) -> type[WritingHandler]:
        return OrderHandler


class OrderHandler(WritingHandler):
    def do_POST(self) -> None:
        self._note(None)
        if self.script.instead:
            self.script.instead.pop(0)
            self.close_connection = True
            return
        if self.script.next:
            refusal = self.script.next.pop(0)
            assert isinstance(refusal, Refusal)
            self._refuse(refusal.status, refusal.kind, refusal.extra)
            return
        servers = [{"name": name, "reached": True} for name in self.script.names]
        self._json(202, {"work": "scrub", "scope": "", "number": 7, "servers": servers})


BROKEN_OFF = (0, "", b"")


def orders(script: Script) -> list[str]:
    assert isinstance(script, Writable)
    return [one.target for one in script.received]


def test_an_order_goes_to_the_next_server_where_one_cannot_be_reached(serve: Serve, dead_url: str) -> None:
    script, url = serve(OrderedAround())
    with accord.Client(dead_url, url) as client:
        assert client.scrub("photos/", servers=["server2"]).number == 7
    assert orders(script) == ["/status/scrub?scope=photos%2F&on=server2"]


def test_an_order_that_may_have_been_taken_is_given_to_nobody_again(serve: Serve) -> None:
    (one, url1), (two, url2) = serve(OrderedAround(instead=[BROKEN_OFF])), serve(OrderedAround())
    with (
        accord.Client(url1, url2) as client,
        pytest.raises(WriteUnclear, match="did not say whether the scrub has begun"),
    ):
        client.scrub()
    assert orders(one) == ["/status/scrub"]
    assert orders(two) == []


async def test_the_client_with_a_loop_gives_it_once_too(serve: Serve) -> None:
    script, url = serve(OrderedAround(instead=[BROKEN_OFF]))
    async with accord.AsyncClient(url) as client:
        with pytest.raises(WriteUnclear):
            await client.scrub()
    assert orders(script) == ["/status/scrub"]


def test_an_order_that_a_server_refused_is_refused(serve: Serve) -> None:
    (_, url1), (two, url2) = serve(OrderedAround(next=[Refusal(500, "store-failed")])), serve(OrderedAround())
    with accord.Client(url1, url2) as client, pytest.raises(StoreFailed):
        client.scrub()
    assert orders(two) == []


def test_an_order_that_no_server_could_be_given_changes_nothing(dead_url: str) -> None:
    with accord.Client(dead_url) as client, pytest.raises(Unavailable, match="No server could be asked"):
        client.pause()


def test_an_order_that_a_server_cannot_take_goes_to_the_next(serve: Serve) -> None:
    (one, url1), (two, url2) = serve(OrderedAround()), serve(OrderedAround())
    one.next = [Refusal(503, "unavailable", {})]
    with accord.Client(url1, url2) as client:
        assert client.scrub().number == 7
    assert (orders(one), orders(two)) == (["/status/scrub"], ["/status/scrub"])

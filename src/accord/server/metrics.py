"""What is counted, for Prometheus: plain numbers that the event loop's thread increments, read when somebody asks.

The counters are not prometheus-client's own: those take a lock for each increment, which the thin path would feel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from accord.engine.making import Moved
from accord.engine.overview import ServerStatus
from accord.engine.write import Written
from accord.errors import AccordError
from accord.model.names import ServerName
from accord.model.verdict import Kind
from accord.peers.port import PeerState, PeerStatus
from accord.server.status_metrics import status_metrics
from accord.store.port import Debts

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Outcome(Enum):
    """How a write ended."""

    CREATED = "created"
    """There was no such file before."""
    REPLACED = "replaced"
    """Another version was there, or several."""
    DELETED = "deleted"
    """It is a tombstone."""
    REFUSED = "refused"
    """The request could not be done as it was: a status below 500."""
    FAILED = "failed"
    """A status of 500 or more."""
    CUT_OFF = "cut off"
    """The client went before it had sent everything."""

    @classmethod
    def of_written(cls, written: Written) -> Outcome:
        if written.version.is_tombstone:
            return cls.DELETED
        return cls.CREATED if written.is_new else cls.REPLACED

    @classmethod
    def of_error(cls, error: AccordError) -> Outcome:
        return cls.REFUSED if error.status < 500 else cls.FAILED


class Metrics(Collector):
    """One server's counters. Use from one thread."""

    def __init__(
        self,
        statuses: Callable[[], Sequence[PeerStatus]] = tuple,
        debts: Callable[[], Mapping[ServerName, Debts]] = dict,
        moved: Callable[[], Moved] = Moved,
    ) -> None:
        self.sent_bytes = 0
        self.received_bytes = 0
        self.broken_bodies = 0
        self._reads = dict.fromkeys(Kind, 0)
        self._writes = dict.fromkeys(Outcome, 0)
        self._statuses = statuses
        self._debts = debts
        self._moved = moved
        self._status: ServerStatus | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def read(self, kind: Kind) -> None:
        """Count a read that has been answered, or given up: once, under the last verdict it came to."""
        self._reads[kind] += 1

    def sent(self, count_bytes: int) -> None:
        """Count bytes of a body that were handed to a client's connection."""
        self.sent_bytes += count_bytes

    def wrote(self, outcome: Outcome) -> None:
        """Count a write that ended so."""
        self._writes[outcome] += 1

    def received(self, count_bytes: int) -> None:
        """Count bytes of a body that a client sent."""
        self.received_bytes += count_bytes

    def broken_off(self) -> None:
        """Count a body that was broken off: its bytes did not match, or a server failed."""
        self.broken_bodies += 1

    def reads(self, kind: Kind) -> int:
        return self._reads[kind]

    def writes(self, outcome: Outcome) -> int:
        return self._writes[outcome]

    def collect(self) -> Iterator[Metric]:
        reads = CounterMetricFamily("accord_reads", "Reads by the verdict they came to.", labels=["verdict"])
        for kind, count in self._reads.items():
            reads.add_metric([kind.value], count)
        yield reads
        writes = CounterMetricFamily("accord_writes", "Writes by how they ended.", labels=["outcome"])
        for outcome, count in self._writes.items():
            writes.add_metric([outcome.value], count)
        yield writes
        yield CounterMetricFamily(
            "accord_received_bytes", "Bytes of content that clients sent.", value=self.received_bytes
        )
        yield CounterMetricFamily("accord_sent_bytes", "Bytes of bodies sent to clients.", value=self.sent_bytes)
        yield CounterMetricFamily(
            "accord_broken_bodies",
            "Bodies broken off: bytes that did not match, or a server that failed.",
            value=self.broken_bodies,
        )
        moved = self._moved()
        yield CounterMetricFamily(
            "accord_fetched_bytes",
            "Bytes of content fetched from other servers to bring this one up to date.",
            value=moved.fetched_bytes,
        )
        yield CounterMetricFamily(
            "accord_reused_bytes",
            "Bytes of content that needed no fetching, as another version had them here.",
            value=moved.reused_bytes,
        )
        peers = GaugeMetricFamily("accord_peer_up", "Whether the other server is connected.", labels=["peer"])
        for status in self._statuses():
            peers.add_metric([status.name], float(status.state is PeerState.UP))
        yield peers
        owed = GaugeMetricFamily("accord_owed_paths", "Paths that the other server has yet to get.", labels=["peer"])
        debts = self._debts()
        for status in self._statuses():
            debt = debts.get(status.name)
            owed.add_metric([status.name], 0 if debt is None else debt.paths)
        yield owed
        if self._status is not None:
            yield from status_metrics(self._status)

    def rendered(self, status: ServerStatus | None = None) -> bytes:
        """The text that /metrics answers, of media type `CONTENT_TYPE`; with what `status` says, where it is given."""
        self._status = status
        try:
            return generate_latest(self._registry)
        finally:
            self._status = None

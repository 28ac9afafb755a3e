"""What is counted, for Prometheus: plain numbers that the event loop's thread increments, read when somebody asks.

The counters are not prometheus-client's own: those take a lock for each increment, which the thin path would feel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from accord.model.verdict import Kind
from accord.peers.port import PeerState, PeerStatus

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics(Collector):
    """One server's counters. Use from one thread."""

    def __init__(self, statuses: Callable[[], Sequence[PeerStatus]] = tuple) -> None:
        self.sent_bytes = 0
        self.broken_bodies = 0
        self._reads = dict.fromkeys(Kind, 0)
        self._statuses = statuses
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def read(self, kind: Kind) -> None:
        """Count a read that ended in this verdict."""
        self._reads[kind] += 1

    def sent(self, count_bytes: int) -> None:
        """Count bytes of a body that were handed to a client's connection."""
        self.sent_bytes += count_bytes

    def broken_off(self) -> None:
        """Count a body that was broken off: its bytes did not match, or a server failed."""
        self.broken_bodies += 1

    def reads(self, kind: Kind) -> int:
        return self._reads[kind]

    def collect(self) -> Iterator[Metric]:
        reads = CounterMetricFamily("accord_reads", "Reads by the verdict they came to.", labels=["verdict"])
        for kind, count in self._reads.items():
            reads.add_metric([kind.value], count)
        yield reads
        yield CounterMetricFamily("accord_sent_bytes", "Bytes of bodies sent to clients.", value=self.sent_bytes)
        yield CounterMetricFamily(
            "accord_broken_bodies",
            "Bodies broken off: bytes that did not match, or a server that failed.",
            value=self.broken_bodies,
        )
        peers = GaugeMetricFamily("accord_peer_up", "Whether the other server is connected.", labels=["peer"])
        for status in self._statuses():
            peers.add_metric([status.name], float(status.state is PeerState.UP))
        yield peers

    def rendered(self) -> bytes:
        """The text that /metrics answers, of media type `CONTENT_TYPE`."""
        return generate_latest(self._registry)

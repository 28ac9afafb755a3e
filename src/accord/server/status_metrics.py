"""A server's status as metrics for Prometheus: what differs, what is odd, what waits, when the work in the background last ended."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from accord.engine.overview import ServerStatus, counted
from accord.model.findings import Oddity
from accord.model.verdict import Kind

_NANO = 1_000_000_000


def status_metrics(status: ServerStatus) -> Iterator[Metric]:
    paths = GaugeMetricFamily("accord_paths", "Paths by their verdicts, as this server knows them.", labels=["verdict"])
    kinds = counted(status)
    for kind in Kind:
        paths.add_metric([kind.value], kinds.get(kind.value, 0))
    yield paths
    odd = GaugeMetricFamily("accord_odd_copies", "Copies of this server that are odd, by how.", labels=["oddity"])
    for oddity in Oddity:
        odd.add_metric([oddity.value], status.findings.get(oddity.value, 0))
    yield odd
    yield GaugeMetricFamily("accord_estranged_paths", "Paths that only a stranger has.", value=status.estranged)
    yield GaugeMetricFamily(
        "accord_degraded", "Whether something is wrong with the store.", value=status.degraded is not None
    )
    if status.disk is not None:
        yield GaugeMetricFamily(
            "accord_disk_free_bytes", "What this server may still use.", value=status.disk.free_bytes
        )
    yield from _healing(status)
    yield from _runs(status)


def _healing(status: ServerStatus) -> Iterator[Metric]:
    queue = status.queue
    yield GaugeMetricFamily("accord_heal_queued", "Paths that wait to be mended here.", value=queue.queued)
    yield GaugeMetricFamily(
        "accord_heal_waiting", "Of these, those that failed and are tried again later.", value=queue.waiting
    )
    yield GaugeMetricFamily("accord_heal_paused", "Whether mending is paused.", value=queue.paused)
    yield CounterMetricFamily(
        "accord_healed",
        "Times that a path was mended here, or nobody who answered had more for it.",
        value=queue.healed,
    )


def _runs(status: ServerStatus) -> Iterator[Metric]:
    running = GaugeMetricFamily("accord_running", "Whether the work is under way.", labels=["work"])
    ended = GaugeMetricFamily(
        "accord_ended_seconds", "When the work ended last, since the Unix epoch.", labels=["work"]
    )
    for name, run in (("scan", status.scan), ("scrub", status.scrub)):
        running.add_metric([name], run.running)
        if run.ended_ns is not None:
            ended.add_metric([name], run.ended_ns / _NANO)
    ends = [one.ended_ns for one in status.sync if one.ended_ns is not None]
    running.add_metric(["sync"], any(one.running for one in status.sync))
    if ends:
        ended.add_metric(["sync"], max(ends) / _NANO)
    yield running
    yield ended
    equal = GaugeMetricFamily(
        "accord_in_sync", "Whether the last comparison left nothing to mend here.", labels=["peer"]
    )
    for one in status.sync:
        if one.is_equal is not None:
            equal.add_metric([one.peer], one.is_equal)
    yield equal

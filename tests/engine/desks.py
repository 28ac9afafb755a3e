"""The status of whole servers in memory: each answers the others' questions, and takes orders that are written down."""

from __future__ import annotations

from dataclasses import dataclass, field

from accord.engine.found import RecentFindings
from accord.engine.peer_requests import Work
from accord.engine.progress import RunProgress, SyncProgress
from accord.engine.requests import Requests
from accord.engine.status import Gauges, Status
from accord.store.inventory import Scope
from tests.engine.servers import Node, Servers

NOW_NS = 1_800_000_000_000_000_000


@dataclass
class Desk:
    """One server's status, with gauges that a test sets."""

    node: Node
    scan: RunProgress = field(default_factory=RunProgress)
    scrub: RunProgress = field(default_factory=RunProgress)
    sync: tuple[SyncProgress, ...] = ()
    orders: list[tuple[Work, int, Scope]] = field(default_factory=list)
    refusal: str | None = None
    recent: RecentFindings = field(default_factory=RecentFindings)

    def __post_init__(self) -> None:
        begins = {work: self._begin(work) for work in Work}
        requests = self.requests = Requests(
            self.node.store, begins=begins, reported=lambda asked: self.status.report(asked)
        )
        self.status = Status(
            self.node.name,
            "home",
            self.node.store,
            self.node.peers,
            Gauges(self.node.healing.progress, lambda: self.scan, lambda: self.scrub, lambda: self.sync),
            requests.order,
            self.recent,
            look_again=self.node.reader.look_again,
            version="1.2",
            now_ns=lambda: NOW_NS,
            report_wait_s=2.0,
        )

    def _begin(self, work: Work):  # type: ignore[no-untyped-def]
        def begin(number: int, scope: Scope) -> str | None:
            if self.refusal is None:
                self.orders.append((work, number, scope))
            return self.refusal

        return begin


def desks(cluster: Servers) -> list[Desk]:
    """One for each server; they answer each other."""
    made = [Desk(node) for node in cluster.nodes]
    for one in made:
        for other in made:
            if other is not one:
                one.node.peers.requests[other.node.name] = other.requests
    return made

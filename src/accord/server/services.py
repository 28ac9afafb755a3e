"""What the routes are given: the parts of one server, put together elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from accord.engine.read import Reader
from accord.model.names import ServerName
from accord.peers.port import Peers
from accord.server.metrics import Metrics
from accord.store.port import Store


@dataclass(frozen=True, slots=True)
class Services:
    """One server: `name` is its own, `cluster` the cluster's."""

    name: ServerName
    cluster: str
    reader: Reader
    store: Store
    peers: Peers
    metrics: Metrics

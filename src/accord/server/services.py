"""What the routes are given: the parts of one server, put together elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from accord.engine.copy import Copier
from accord.engine.history import Historian
from accord.engine.read import Reader
from accord.engine.status import Status
from accord.engine.write import Writer
from accord.model.names import ServerName
from accord.peers.port import Peers
from accord.server.metrics import Metrics
from accord.server.upload_files import UploadFiles
from accord.store.port import Store


@dataclass(frozen=True, slots=True)
class Services:
    """One server: `name` is its own, `cluster` the cluster's. `uploads` None: resumable uploads are not taken."""

    name: ServerName
    cluster: str
    reader: Reader
    writer: Writer
    copier: Copier
    historian: Historian
    store: Store
    peers: Peers
    metrics: Metrics
    status: Status
    uploads: UploadFiles | None = None

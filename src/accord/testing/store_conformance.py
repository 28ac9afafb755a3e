"""What every adapter of `store.port` keeps, as one suite: subclass `StoreConformance` in a test module and give it two fixtures: a
`disk` whose store disputes outside changes, and an `adopting` one whose store adopts them.

Only the contract is tested here, through the port and through `Disk` (the world outside). What is special to one adapter has tests of
its own.
"""

from __future__ import annotations

from accord.testing.chunk_conformance import ChunkConformance
from accord.testing.commit_conformance import CommitConformance
from accord.testing.debt_conformance import DebtConformance
from accord.testing.history_conformance import HistoryConformance
from accord.testing.incoming_conformance import IncomingConformance
from accord.testing.inventory_conformance import InventoryConformance
from accord.testing.outside_conformance import OutsideConformance
from accord.testing.reading_conformance import ReadingConformance
from accord.testing.scan_conformance import ScanConformance, ScrubConformance
from accord.testing.sequence_conformance import SequenceConformance


class StoreConformance(
    ReadingConformance,
    OutsideConformance,
    IncomingConformance,
    CommitConformance,
    HistoryConformance,
    DebtConformance,
    InventoryConformance,
    ChunkConformance,
    ScanConformance,
    ScrubConformance,
    SequenceConformance,
):
    """Test methods take the fixtures `disk` and `adopting`."""

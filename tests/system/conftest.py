"""Clusters of real processes, ended whatever the test did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.harness import Cluster, make_cluster


@pytest.fixture
def new_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters (not started) that are ended after the test."""
    made: list[Cluster] = []

    def make(count: int = 2, **settings: object) -> Cluster:
        folder = tmp_path / f"cluster{len(made)}"
        folder.mkdir()
        made.append(make_cluster(folder, count, **settings))
        return made[-1]

    yield make
    for cluster in made:
        cluster.end()


@pytest.fixture
def pair(new_cluster: Callable[..., Cluster]) -> Cluster:
    """Two servers, running, with empty directories. What a test lays there they come upon when they are asked for it, not before."""
    cluster = new_cluster(2, watch=False, scan_every="never")
    cluster.start()
    return cluster

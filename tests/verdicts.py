"""What tests ask of a verdict."""

from __future__ import annotations

from accord.model.names import ServerName
from accord.model.verdict import State, Verdict


def state_of(verdict: Verdict, server: ServerName) -> State:
    return next(report.state for report in verdict.servers if report.name == server)

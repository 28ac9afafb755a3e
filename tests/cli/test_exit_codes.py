"""Of several troubles one gives the exit code, the same one in every command and on every page."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.cli import status
from accord.cli.exit_codes import worst
from tests.cli.conftest import Run
from tests.cli.test_upkeep_waiting import seen
from tests.client.scripted import Serve
from tests.engine.test_overview import status as told_by

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_order_is_the_documented_one() -> None:
    codes = {1, 2, 3, 4, 5, 6, 8}
    order = []
    while codes:
        order.append(worst(codes))
        codes.remove(order[-1])
    assert f"the exit code is that of the worst: {', '.join(map(str, order))}, in this order" in " ".join(
        DOCS.read_text().split()
    )
    assert worst([]) == worst([0]) == 0


@pytest.mark.parametrize(
    ("kinds", "rivals", "is_silent", "prefix", "code"),
    [
        ({"identical": 3}, 0, False, "", 0),
        ({}, 0, False, "nothing/", 5),
        ({}, 0, True, "nothing/", 3),
        ({"diverged": 1}, 1, True, "", 6),
        ({"damaged": 1}, 0, True, "", 8),
        ({"missing": 1}, 0, False, "", 8),
        ({"damaged": 1, "diverged": 1}, 1, True, "", 6),
        ({"missing": 1, "diverged": 1}, 1, False, "", 6),
    ],
)
def test_a_status_ends_with_rivals_first_and_then_with_the_worst(
    kinds: dict[str, int], rivals: int, is_silent: bool, prefix: str, code: int
) -> None:
    told = told_by(files=sum(kinds.values()), deleted=0)
    overview = seen(told, None if is_silent else told, kinds=kinds, rivals=rivals, prefix=prefix)
    assert status.exit_code_of(overview) == code


def test_several_paths_end_with_the_worst_and_not_with_the_first(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    script.put("a", server1=b"x", server2=b"x")
    script.put("rivals", server1=b"x", server2=b"y")
    (tmp_path / "into").mkdir()
    assert accord("get", "missing", "rivals", "a", "into", url=url).returncode == 6
    assert (tmp_path / "into" / "a").exists()

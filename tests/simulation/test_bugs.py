"""The checks can fail: each planted bug is found within its bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.model.writing import covered
from accord.testing.simulation import main
from accord.testing.simulation.bugs import BUGS, BY_NAME, Bug
from accord.testing.simulation.run import run

DOCS = Path(__file__).parents[2] / "docs" / "simulation.md"


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    assert main.find(bug) is not None


def test_there_are_many_and_the_page_has_them_all() -> None:
    assert len(BUGS) >= 12
    page = DOCS.read_text()
    assert [bug.name for bug in BUGS if f"| {bug.name} |" not in page] == []


def test_a_bug_is_gone_after_its_run() -> None:
    from accord.engine import deciding

    run(1, plant=BY_NAME["context ignored"].plant)
    assert vars(deciding)["covered"] is covered


def test_a_failing_seed_is_told_with_the_command_that_does_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    found = main.find(BY_NAME["context ignored"])
    assert found is not None
    assert main._replay(found.seed, "context ignored", trace=False) == 1
    told = capsys.readouterr().out
    assert f"again: accord-sim --seed {found.seed} --bug 'context ignored' --trace" in told
    assert len(told.splitlines()) > main.TOLD_LINES

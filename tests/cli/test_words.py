"""Values as a person reads them."""

from __future__ import annotations

import io

import pytest

from accord.cli.output import TextOutput
from accord.cli.trees import failed
from accord.errors import AccordError, InvalidPath, NotFound, NotSaved, UsageError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NotFound("nothing"), "File Not Found: nothing"),
        (NotFound("File Not Found: nothing"), "File Not Found: nothing"),
        (NotSaved(), "Could Not Be Saved"),
        (InvalidPath("'..' is no name."), "Invalid Path: '..' is no name."),
        (UsageError("Name two."), "Name two."),
        (AccordError("It is not so."), "It is not so."),
    ],
)
def test_a_failure_reads_the_same_alone_and_in_a_tree(error: AccordError, told: str) -> None:
    stderr = io.StringIO()
    TextOutput(io.StringIO(), stderr).error(error)
    assert stderr.getvalue() == f"accord: {told}\n"
    assert failed(error).reason == told

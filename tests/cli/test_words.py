"""Values as a person reads them."""

from __future__ import annotations

import io

import pytest

from accord.cli.lines import version_line
from accord.cli.output import TextOutput
from accord.cli.trees import failed
from accord.client.results import Version
from accord.errors import AccordError, InvalidPath, NotFound, NotSaved, UsageError
from accord.model.names import Digest
from accord.quantities import size_text


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


@pytest.mark.parametrize(
    ("size_bytes", "told"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (3 << 19, "1.5 MiB"),
        (5 << 40, "5.0 TiB"),
        (7 << 50, "7.0 PiB"),
        (2048 << 60, "2048.0 EiB"),
    ],
)
def test_a_size_is_told_in_the_largest_unit_that_it_fills(size_bytes: int, told: str) -> None:
    assert size_text(size_bytes) == told
    assert told in version_line(Version(digest=Digest(bytes(32)), size=size_bytes))

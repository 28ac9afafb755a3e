"""Structured fields of requests: what RFC 9651 says they are, and nothing else."""

from __future__ import annotations

import pytest

from accord.server.structured import read_boolean, read_byte_sequences


def test_booleans() -> None:
    assert read_boolean("?1") is True
    assert read_boolean("?0") is False
    for wrong in ("1", "true", "?2", "", "?1;x"):
        with pytest.raises(ValueError):
            read_boolean(wrong)


@pytest.mark.parametrize(
    ("field", "members"),
    [
        ("", {}),
        ("sha-256=:YWJj:", {"sha-256": b"abc"}),
        ("sha-256=:YWI=:, sha-512=:YWJj:", {"sha-256": b"ab", "sha-512": b"abc"}),
        ("sha-256=:YWI:", {"sha-256": b"ab"}),
        ("a=:YWI=:;q=1;r,b=:YWJj:", {"a": b"ab", "b": b"abc"}),
        ("a=:YWI=: ,\tb", {"a": b"ab", "b": None}),
        (
            'a=1, b=?1, c="x\\"y, z", d=word/1, e=-1.5, a=:YWJj:',
            {"a": b"abc", "b": None, "c": None, "d": None, "e": None},
        ),
        ("a=::", {"a": b""}),
    ],
)
def test_dictionaries(field: str, members: dict[str, bytes | None]) -> None:
    assert read_byte_sequences(field) == members


@pytest.mark.parametrize(
    "field",
    [
        "a=:YWI=",
        "a=:Y:",
        "a=:!:",
        "A=:YWI=:",
        "a=:YWI=:,",
        ",a",
        "a b",
        "a=:YWI=:;;",
        "a=(1 2)",
        "é=1",
        "a=" + "x" * 9000,
    ],
)
def test_no_dictionaries(field: str) -> None:
    with pytest.raises(ValueError):
        read_byte_sequences(field)

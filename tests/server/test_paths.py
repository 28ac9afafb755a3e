"""Addresses are decoded exactly once, and what is no clean path gets no further."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.engine.read import Verify
from accord.errors import InvalidPath, InvalidQuery
from accord.model.names import FilePath
from accord.server.paths import FileQuery, encoded, file_query, list_prefix, list_query, read_target, split_target


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/files/hello.txt", "hello.txt"),
        (b"/files/a/b%20c.txt", "a/b c.txt"),
        (b"/files/%F0%9F%98%80", "😀"),
        (b"/files/\xf0\x9f\x98\x80", "😀"),
        (b"/files/100%25", "100%"),
        (b"/files/%252e%252e%252fetc", "%2e%2e%2fetc"),
        (b"/files/a+b%2Bc", "a+b+c"),
        (b"/files/a%23b%3Fc%22", 'a#b?c"'),
        (b"http://host:1/files/x", "x"),
        (b"/files/~user;v=1", "~user;v=1"),
    ],
)
def test_a_path_is_decoded_exactly_once(raw: bytes, path: str) -> None:
    assert read_target(raw).path == path


@pytest.mark.parametrize(
    "raw",
    [
        b"/files/",
        b"/files//etc/passwd",
        b"/files/../x",
        b"/files/%2e%2e/x",
        b"/files/%2e%2e%2fx",
        b"/files/a%2Fb",
        b"/files/..%5cx",
        b"/files/a\\b",
        b"/files/a%00",
        b"/files/a%0d%0aX:%20y",
        b"/files/a%",
        b"/files/a%4",
        b"/files/a%zz",
        b"/files/a%+1",
        b"/files/a% 1",
        b"/files/%c0%ae%c0%ae/x",
        b"/files/%ff",
        b"/files/%ed%a0%80",
        b"/files/.accord/index.db",
        b"/files/.ACCORD/index.db",
        b"/files/%2eaccord/index.db",
        b"/files/a#b",
        b"/files/" + b"a" * 300,
        b"/files/" + b"a/" * 2500 + b"a",
        b"/other/x",
        b"files/x",
        b"ftp://host/files/x",
        b"*",
    ],
)
def test_bad_paths_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidPath):
        read_target(raw)


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc",), exclude_characters="/\\"), min_size=1, max_size=40)
)
def test_every_path_survives_its_own_encoding(name: str) -> None:
    try:
        path = FilePath("folder/" + name)
    except InvalidPath:
        return
    assert read_target(f"/files/{encoded(path)}?verify=none".encode()).path == path


@given(st.binary(max_size=60))
def test_any_bytes_are_a_path_or_an_invalid_one(raw: bytes) -> None:
    try:
        target = read_target(b"/files/" + raw)
    except (InvalidPath, InvalidQuery):
        return
    assert not {"\r", "\n", "\0", "\\"} & set(target.path)


def test_a_query_is_typed() -> None:
    assert file_query(b"") == FileQuery(None, False, Verify.STAT)
    query = file_query(b"version=blake3%3A0123456789ab&rivals=fail&verify=content")
    assert query == ("0123456789ab", True, Verify.CONTENT)
    assert file_query(b"verify=none&").verify is Verify.NONE


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"colour=red", "'colour'"),
        (b"verify=none&verify=none", "verify"),
        (b"verify=all", "'all'"),
        (b"verify", "''"),
        (b"rivals=show", "'show'"),
        (b"version=", "''"),
        (b"version=0123", "'0123'"),
        (b"version=%zz", "%zz"),
        (b"version=%ff", "UTF-8"),
        (b"Verify=none", "'Verify'"),
        (b"&".join([b"verify=none"] * 100), "too long"),
    ],
)
def test_bad_queries_say_what_is_wrong(raw: bytes, named: str) -> None:
    with pytest.raises(InvalidQuery, match=".*" + named):
        file_query(raw)


def test_a_listing_query() -> None:
    assert list_query(b"limit=10&after=a%2Fb&deleted=show") == (10, "a/b", True, False)
    assert list_query(b"depth=1").folded
    with pytest.raises(InvalidQuery, match="depth"):
        list_query(b"depth=2")
    assert list_query(b"after=") == (None, None, False, False)
    for bad in (b"limit=0", b"limit=10001", b"limit=-1", b"limit=1e3", b"limit=", "limit=٣".encode(), b"deleted=no"):
        with pytest.raises(InvalidQuery):
            list_query(bad)
    with pytest.raises(InvalidPath):
        list_query(b"after=../x")


@pytest.mark.parametrize(("raw", "prefix"), [(b"", ""), (b"a", "a/"), (b"a/", "a/"), (b"a%20b/c/", "a b/c/")])
def test_a_prefix_is_a_folder(raw: bytes, prefix: str) -> None:
    assert list_prefix(raw) == prefix


@pytest.mark.parametrize("raw", [b"../", b"a//", b".accord/", b"%2f", b"%ff", b"/"])
def test_bad_prefixes_are_refused(raw: bytes) -> None:
    if raw == b"/":
        assert list_prefix(raw) == ""
        return
    with pytest.raises(InvalidPath):
        list_prefix(raw)


def test_a_target_is_split_without_decoding() -> None:
    assert split_target(b"/files/a%3Fb?x=%26?") == (b"/files/a%3Fb", b"x=%26?")

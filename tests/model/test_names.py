"""Every rule that a path, a server's name or a digest must keep, and the awkward names that are none the less fine."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from accord.errors import ConfigError, InvalidPath, InvalidQuery
from accord.model import names
from accord.model.names import Digest, DigestPrefix, FilePath, Prefix, ServerName

REFUSED = {
    "empty": ("", "empty"),
    "dot": (".", "'.'"),
    "dot dot": ("..", "'..'"),
    "dot dot inside": ("a/../b", "'..'"),
    "dot inside": ("a/./b", "'.'"),
    "dot dot at the end": ("a/..", "'..'"),
    "absolute": ("/etc/passwd", "slash"),
    "slash at the end": ("a/", "slash"),
    "two slashes": ("a//b", "slash"),
    "only a slash": ("/", "slash"),
    "NUL": ("a\x00b", "NUL"),
    "line feed": ("a\nb", "control"),
    "line feed at the end": ("a.txt\n", "control"),
    "carriage return": ("a\rb", "control"),
    "tab": ("a\tb", "control"),
    "escape": ("\x1b[31mred", "control"),
    "delete": ("a\x7f", "control"),
    "C1 control": ("a\x85b", "control"),
    "backslash": ("a\\b", "backslash"),
    "backslash dot dot": ("..\\..\\secret", "backslash"),
    "lone surrogate": ("a\udc80", "surrogate"),
    "surrogate and backslash": ("\\\ud800", "surrogate"),
    "256-byte segment": ("a" * 256, "255"),
    "256-byte segment of two-byte letters": ("é" * 128, "255"),
    "300-byte segment below a folder": ("folder/" + "b" * 300, "255"),
    "4097-byte path": ("/".join(["abcdefg"] * 512) + "ab", "4096"),
    "5000-byte path": ("/".join(["a" * 99] * 50) + "/b", "4096"),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED)
def test_a_refused_path_says_which_rule_it_broke(text: str, says: str) -> None:
    with pytest.raises(InvalidPath) as refusal:
        FilePath(text)
    assert says in refusal.value.detail
    (refusal.value.detail + (refusal.value.path or "")).encode("utf-8", "strict")


PRIVATE = [
    ".accord",
    ".ACCORD",
    ".Accord",
    ".aCCoRd",
    "．ａｃｃｏｒｄ",
    ".ａccord",
    "․accord",
    ".ⓐⓒⓒⓞⓡⓓ",
    ".acc\u200bord",
    "\u200d.accord",
    ".accord\ufeff",
    ".ac\u00adcord",
    ".acc\u2060ord",
    "\u202e.accord",
    ".accord\ufe0f",
    ".acc\u034ford",
    ".accord\u3164",
    ".accor\U000e0100d",
    ".𝐚𝐜𝐜𝐨𝐫𝐝",
]


@pytest.mark.parametrize("spelling", PRIVATE, ids=ascii)
@pytest.mark.parametrize("around", ["{}", "{}/index.db", "folder/{}", "a/{}/b"])
def test_the_private_folder_cannot_be_named_in_any_spelling(spelling: str, around: str) -> None:
    with pytest.raises(InvalidPath, match="own folder"):
        FilePath(around.format(spelling))


AWKWARD = [
    "hello.txt",
    "two words.txt",
    " leading and trailing ",
    "emoji 🎉.txt",
    "family 👨‍👩‍👧.png",
    'it\'s "quoted".txt',
    "100%.txt",
    "%2e%2e",
    "a#b?c&d=e;f",
    "...",
    "..a",
    "a..",
    ".hidden",
    ".accord2",
    "accord",
    ".accord.txt",
    "x.accord",
    "-rf",
    "~",
    "*",
    "<script>.html",
    "日本語/ファイル.txt",
    "e\u0301",
    "\u00e9",
    "a:b",
    "con",
    "\u2028",
]


@pytest.mark.parametrize("text", AWKWARD, ids=ascii)
def test_an_awkward_name_is_a_path_kept_as_it_is(text: str) -> None:
    assert FilePath(text) == text
    assert FilePath.from_bytes(text.encode()) == text


def test_the_limits_are_met_exactly() -> None:
    assert len(FilePath("a" * 255)) == 255
    assert len(FilePath("é" * 127 + "a").encode()) == 255
    assert len(FilePath("/".join(["abcdefg"] * 512) + "a").encode()) == 4096
    assert len(FilePath("é/" * 1365 + "a").encode()) == 4096


@pytest.mark.parametrize("raw", [b"\xff", b"\xc0\xae\xc0\xae", b"a\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"])
def test_bytes_that_are_not_utf8_are_no_path(raw: bytes) -> None:
    with pytest.raises(InvalidPath, match="UTF-8"):
        FilePath.from_bytes(raw)


def refusal(check: object, text: str) -> str | None:
    try:
        check(text)  # type: ignore[operator]
    except InvalidPath as error:
        return error.detail
    return None


plain_text = st.text("abAZ09_-. /", max_size=30)
pieces = st.sampled_from([*"./\\ \x00\n-_aA", ".accord", "..", "a" * 255, "b" * 201])
hostile_text = st.lists(st.one_of(pieces, st.characters()), max_size=20).map("".join)


@given(st.one_of(plain_text, hostile_text, st.lists(plain_text, max_size=20).map("/".join)))
@example("/".join(["a" * 201] * 16))
@example("/".join(["a" * 201] * 17))
@example("a" * 202)
@example("/".join(["a" * 201] * 21))
@example("a\n")
def test_the_fast_way_and_the_long_way_agree(text: str) -> None:
    assert refusal(FilePath, text) == refusal(names._check, text)


@given(st.text(max_size=60))
def test_an_accepted_path_keeps_every_rule(text: str) -> None:
    try:
        path = FilePath(text)
    except InvalidPath:
        return
    assert 0 < len(path.encode()) <= 4096
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in path)
    assert "\\" not in path
    for segment in path.segments:
        assert segment not in ("", ".", "..")
        assert len(segment.encode()) <= 255
        assert unicodedata.normalize("NFKC", segment).casefold() != ".accord"


@given(st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\."), min_size=1)))
def test_paths_sort_as_their_bytes_do(texts: list[str]) -> None:
    paths = [FilePath(text) for text in texts if len(text.encode()) <= 255]
    assert [path.encode() for path in sorted(paths)] == sorted(path.encode() for path in paths)


def test_a_path_knows_its_parts() -> None:
    path = FilePath("a/b/c.txt")
    assert (path.name, path.parent, path.segments) == ("c.txt", "a/b", ["a", "b", "c.txt"])
    assert (FilePath("c.txt").name, FilePath("c.txt").parent) == ("c.txt", "")


def test_a_prefix_is_a_folder_or_everything() -> None:
    assert [Prefix(text) for text in ("", "/", "a", "a/", "a/b")] == ["", "", "a/", "a/", "a/b/"]


@pytest.mark.parametrize("text", ["//", "a//", "..", "../", "/a", ".accord", ".accord/", "a\\b", "a\n"])
def test_a_prefix_keeps_the_rules_of_paths(text: str) -> None:
    with pytest.raises(InvalidPath):
        Prefix(text)


@pytest.mark.parametrize("text", ["server1", "a", "A.b_c-d", "1", "x" * 63])
def test_a_server_name_of_plain_letters_is_fine(text: str) -> None:
    assert ServerName(text) == text


@pytest.mark.parametrize(
    "text", ["", "-a", "a-", ".a", "a b", "a\n", "a/b", "x" * 64, "é", "ſerver", "\u212aelvin", "ı"]
)
def test_any_other_server_name_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no server name"):
        ServerName(text)


@given(st.binary(min_size=32, max_size=32))
def test_a_digest_reads_what_it_writes(raw: bytes) -> None:
    digest = Digest(raw)
    assert Digest.parse(str(digest)) == digest
    assert re.fullmatch("blake3:[0-9a-f]{64}", str(digest))


HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "text",
    [
        *["", HEX, "blake3:", f"sha256:{HEX}", f"blake3:blake3:{HEX}"],
        *[f"blake3:{tail}" for tail in (HEX[1:], HEX + "0", HEX.upper(), HEX + "\n", HEX[:-1] + "g", HEX[:-1] + " ")],
    ],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidQuery):
        Digest.parse(text)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_digest_has_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="32"):
        Digest(b"x" * size)


@given(st.binary(min_size=32, max_size=32), st.integers(12, 64), st.sampled_from(["{}", "blake3:{}", '"blake3:{}"']))
def test_a_prefix_of_at_least_12_digits_names_the_digest(raw: bytes, length: int, form: str) -> None:
    digest = Digest(raw)
    prefix = DigestPrefix(form.format(digest.hex()[:length]))
    assert prefix.matches(digest)
    assert not prefix.matches(Digest(bytes([raw[0] ^ 1]) + raw[1:]))


def test_a_prefix_is_read_in_capitals_too() -> None:
    assert DigestPrefix(HEX[:12].upper()).matches(Digest.parse(f"blake3:{HEX}"))


@pytest.mark.parametrize("text", ["", "blake3:", HEX[:11], f"{HEX}0", "g" * 12, f"{HEX[:12]}\n", " " + HEX[:12]])
def test_what_names_no_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidQuery):
        DigestPrefix(text)

"""Which current version a person's word stands for: a server's name, or a digest.

What is done with it is `cli.choices`' and `cli.diff`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.cli import words
from accord.errors import InvalidQuery, UsageError
from accord.model.names import MIN_DIGEST_PREFIX_HEX, Digest, DigestPrefix

if TYPE_CHECKING:
    from accord.client.results import Verdict, Version


def version_named(verdict: Verdict, word: str) -> Version:
    """What the server of this name has at the path, or the version whose digest begins like this. Raises `UsageError`."""
    for version in verdict.versions:
        if word in words.label(verdict, version).split("+"):
            return version
    for report in verdict.servers:
        if report.name == word:
            raise UsageError(
                f"{word} has none of the current versions of {verdict.path} (its state is {report.state.value})."
            )
    found = [version for version in verdict.versions if version.digest is not None and _begins(version.digest, word)]
    if len(found) == 1:
        return found[0]
    raise UsageError(
        f"'{word}' is neither one of the servers ({words.names(one.name for one in verdict.servers)}) nor the digest of a current "
        f"version of {verdict.path}, or the first {MIN_DIGEST_PREFIX_HEX} or more hex digits of one."
    )


def _begins(digest: Digest, word: str) -> bool:
    try:
        return DigestPrefix(word).matches(digest)
    except InvalidQuery:
        return False

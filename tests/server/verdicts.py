"""Answers and verdicts to test with."""

from __future__ import annotations

from blake3 import blake3

from accord.model.names import Digest, FilePath, ServerName
from accord.model.verdict import Absent, Answer, Damaged, Deleted, Present, Unreachable, Verdict, compare
from accord.model.versions import Actor, Clock, Version, found, write

NOW_S = 1_700_000_000
SERVER1, SERVER2, SERVER3 = ServerName("server1"), ServerName("server2"), ServerName("3rd.server")
DOWN = Unreachable("no answer within 1 s")


def digest_of(content: bytes) -> Digest:
    return Digest(blake3(content).digest())


def copy_of(content: bytes, modified_ns: int = NOW_S * 10**9) -> Present:
    digest = digest_of(content)
    version = Version(digest, len(content), modified_ns, "")
    return Present(digest, len(content), modified_ns, found(version))


def tombstone(by: str = "server1") -> Deleted:
    return Deleted(write(Clock(), {}, Actor(f"{by}/life"), Version(None, 0, NOW_S * 10**9, by)))


def damaged(content: bytes) -> Damaged:
    copy = copy_of(content)
    return Damaged("its bytes changed", copy.digest, copy.clock)


def verdict_on(path: str, *answers: Answer) -> Verdict:
    return compare(FilePath(path), dict(zip((SERVER1, SERVER2, SERVER3), answers, strict=False)))


IDENTICAL = verdict_on("a/hello.txt", copy_of(b"hello"), copy_of(b"hello"))
DIVERGED = verdict_on("a/hello.txt", copy_of(b"one", 10**18), copy_of(b"two!"))
MISSING = verdict_on("a/hello.txt", Absent(), Absent())
UNKNOWN = verdict_on("a/hello.txt", Absent(), DOWN)

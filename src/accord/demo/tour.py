"""The tour: each row of the verdict table brought about, asked for with the real client, and judged.

A step says what should come out before it asks. How the servers run is left to `sandbox`, how it is shown to `screen`.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from blake3 import blake3
from rich.console import Console
from rich.markup import escape

from accord.client.blocking import Client
from accord.client.results import Verdict, Written
from accord.demo.samples import BOTH, DIFFERENT, FILM, FILM_BYTES, NOTES, ONLY_ON_SECOND, PICTURE
from accord.demo.sandbox import UNHURRIED, DemoServer, sandbox, wait_ready, wait_until
from accord.demo.screen import Tour, summary
from accord.model.verdict import Kind, State

HEAL_WAIT_S = 20.0
_MEGABYTE = 1_000_000


def run_demo(console: Console, *, once: bool) -> bool:
    """The whole demonstration. True if each row came out right. Without `once` it stays up until it is interrupted."""
    console.print(
        "[bold]Accord[/bold]: two servers keep the same files, and a question to one of them compares both copies."
    )
    with sandbox() as (first, second):
        tour = Tour(first, second, console)
        for server in (first, second):
            console.print(f"  {server.name}: {server.url}  {escape(str(server.root))}")
        take(tour)
        summary(tour)
        if not once:
            _by_default_again(tour)
            _stay(tour)
        return tour.went_right


def take(tour: Tour) -> None:
    _both_up(tour)
    _writing(tour)
    with _stopped(tour, tour.second):
        _one_down(tour)
    _after_rot(tour)


def _both_up(tour: Tour) -> None:
    def picture(client: Client) -> tuple[Kind, list[str]]:
        file = client.read(PICTURE)
        assert file.content == (tour.second.root / PICTURE).read_bytes(), "the picture's bytes are not right"
        return file.verdict.verdict, [f"{len(file.content)} bytes, {file.digest}"]

    def rivals(client: Client) -> tuple[Kind, list[str]]:
        verdict = client.stat("file2.txt")
        told = []
        for version in verdict.versions:
            content = client.read("file2.txt", version=str(version.digest)).content
            assert content in DIFFERENT["file2.txt"], "a rival's bytes are not right"
            told.append(f"{', '.join(version.servers)}: {content.decode().strip()}")
        return verdict.verdict, told

    def lacking(client: Client) -> tuple[Kind, list[str]]:
        file = client.read("file3.txt")
        assert file.content == ONLY_ON_SECOND["file3.txt"], "the bytes are not right"
        return file.verdict.verdict, [*_states(file.verdict), file.content.decode().strip()]

    def healed(client: Client) -> tuple[Kind, list[str]]:
        wait_until(lambda: client.stat("file3.txt").verdict is Kind.IDENTICAL, "server1 was healed", HEAL_WAIT_S)
        assert (tour.first.root / "file3.txt").read_bytes() == ONLY_ON_SECOND["file3.txt"], (
            "not healed with these bytes"
        )
        return Kind.IDENTICAL, _states(client.stat("file3.txt"))

    tour.row(Kind.IDENTICAL, "cat hello.txt", "Both have the same bytes: one copy.", _reads_hello)
    tour.row(Kind.IDENTICAL, f"get {PICTURE}", "A picture, the same way.", picture)
    tour.row(Kind.IDENTICAL, f"get {FILM}", "A large file; every byte is hashed on its way.", _reads_film)
    tour.row(Kind.DIVERGED, "stat file2.txt", "They differ: both versions, and nobody picks one for you.", rivals)
    tour.say("Somebody puts file3.txt into the directory of server 2, with a tool that knows nothing of Accord.")
    for path, content in ONLY_ON_SECOND.items():
        (tour.second.root / path).write_bytes(content)
    tour.row(Kind.PARTIAL, "cat file3.txt", "Only server 2 has it: you get that copy.", lacking)
    tour.row(Kind.IDENTICAL, "stat file3.txt", "And by that, server 1 was healed.", healed)
    tour.row(Kind.MISSING, "stat nothing.txt", "Nobody has it, and everybody said so.", _stats("nothing.txt"))


def _writing(tour: Tour) -> None:
    def put(client: Client) -> tuple[Kind, list[str]]:
        return _told(client.put(NOTES, b"bread\n"))

    def put_at_once(client: Client) -> tuple[Kind, list[str]]:
        seen = client.stat(NOTES).context
        client.put(NOTES, b"bread, butter\n", context=seen, author="Ada")
        return _told(client.put(NOTES, b"bread, milk\n", context=seen, author="Ben"))

    def resolve(client: Client) -> tuple[Kind, list[str]]:
        rivals = client.stat(NOTES)
        assert {version.author for version in rivals.versions} == {"Ada", "Ben"}, "a rival is missing"
        written = client.put(NOTES, b"bread, butter, milk\n", context=rivals.context, message="both are right")
        for server in (tour.first, tour.second):
            assert (server.root / NOTES).read_bytes() == b"bread, butter, milk\n", f"{server.name} has something else"
        return _told(written)

    def delete(client: Client) -> tuple[Kind, list[str]]:
        told = _told(client.delete(NOTES))
        deeds = [event.deed for event in client.history(NOTES).events]
        assert deeds == ["delete", "resolve", "put", "put", "put"], "the history is not right"
        return told[0], [*told[1], f"the history: {', '.join(deeds)}"]

    tour.row(Kind.IDENTICAL, f"put {NOTES}", "A new file: durable on both before this is said.", put)
    tour.say("Ada and Ben both change that version, and neither knows of the other.")
    tour.row(Kind.DIVERGED, f"put {NOTES}", "Nothing is buried: the two versions are rivals.", put_at_once)
    tour.row(Kind.IDENTICAL, f"resolve {NOTES} --file both.txt", "A person has seen both, and resolves.", resolve)
    tour.row(Kind.DELETED, f"rm {NOTES}", "Deleted on both; the history keeps what there was.", delete)


def _one_down(tour: Tour) -> None:
    tour.row(Kind.UNVERIFIED, "cat hello.txt", "The copy, marked with who could not be asked.", _reads_hello)
    tour.row(Kind.UNKNOWN, "stat nothing.txt", "Not found? Nobody can know that now.", _stats("nothing.txt"))


def _after_rot(tour: Tour) -> None:
    def rotten_film(client: Client) -> tuple[Kind, list[str]]:
        verdict = client.stat(FILM, verify="content")
        states = {report.name: report.state for report in verdict.servers}
        assert states.get(tour.first.name) is State.DAMAGED, "the damage was not found"  # type: ignore[call-overload]
        return verdict.verdict, _states(verdict)

    def film_healed(client: Client) -> tuple[Kind, list[str]]:
        _, told = _reads_film(client)
        wait_until(lambda: client.stat(FILM).verdict is Kind.IDENTICAL, "the damaged copy was replaced", HEAL_WAIT_S)
        same = (tour.first.root / FILM).read_bytes() == (tour.second.root / FILM).read_bytes()
        assert same, "the copies are not the same"
        return Kind.IDENTICAL, told

    def stale(client: Client) -> tuple[Kind, list[str]]:
        file = client.read("hello.txt")
        assert file.content == edited, "not the current bytes"
        return file.verdict.verdict, [*_states(file.verdict), file.content.decode().strip()]

    tour.say(
        "The disk of server 1 flips a bit of the large file, and both disks one of the picture. Nobody notices yet."
    )
    with _stopped(tour, tour.first, tour.second, restart_with=(*UNHURRIED, "--outside-changes", "adopt")):
        tour.first.rot(FILM, FILM_BYTES // 2)
        for server in (tour.first, tour.second):
            server.rot(PICTURE, 100)
    tour.row(
        Kind.PARTIAL, f"stat {FILM} --verify content", "All copies are read anew: the damage is found.", rotten_film
    )
    tour.row(Kind.IDENTICAL, f"get {FILM}", "The good copy is delivered, and replaces the damaged one.", film_healed)
    tour.row(
        Kind.DAMAGED,
        f"stat {PICTURE} --verify content",
        "No good copy is left: no bytes are served.",
        _stats(PICTURE, verify="content"),
    )
    edited = BOTH["hello.txt"] + b"edited on server 2\n"
    tour.say("Somebody edits hello.txt in the directory of server 2, where such changes are adopted.")
    (tour.second.root / "hello.txt").write_bytes(edited)
    tour.row(Kind.STALE, "cat hello.txt", "Server 1 holds only the ancestor: you get the current version.", stale)


def _reads_hello(client: Client) -> tuple[Kind, list[str]]:
    file = client.read("hello.txt")
    assert file.content == BOTH["hello.txt"], "the bytes are not right"
    return file.verdict.verdict, [*_states(file.verdict), file.content.decode().strip()]


def _reads_film(client: Client) -> tuple[Kind, list[str]]:
    begun_s, hasher, size = time.monotonic(), blake3(), 0
    with client.stream(FILM) as stream:
        for block in stream:
            hasher.update(block)
            size += len(block)
    assert (size, hasher.digest()) == (FILM_BYTES, bytes(stream.digest)), "the bytes are not right"
    rate = size / _MEGABYTE / (time.monotonic() - begun_s)
    return stream.verdict.verdict, [f"{size // _MEGABYTE} MB, digest right, {rate:.0f} MB/s"]


def _told(written: Written) -> tuple[Kind, list[str]]:
    return written.result.verdict, [f"stored on {', '.join(written.stored)}", *_states(written.result)]


def _stats(path: str, *, verify: str | None = None) -> Callable[[Client], tuple[Kind, list[str]]]:
    def ask(client: Client) -> tuple[Kind, list[str]]:
        verdict = client.stat(path, verify=verify)
        return verdict.verdict, _states(verdict)

    return ask


def _states(verdict: Verdict) -> list[str]:
    return [", ".join(f"{report.name}: {report.state.value}" for report in verdict.servers)]


@contextmanager
def _stopped(tour: Tour, *servers: DemoServer, restart_with: tuple[str, ...] = UNHURRIED) -> Iterator[None]:
    tour.console.print(f"\n[yellow]stopping {' and '.join(server.name for server in servers)}[/yellow]")
    for server in servers:
        server.stop()
    yield
    tour.console.print(f"\n[yellow]starting {' and '.join(server.name for server in servers)} again[/yellow]")
    for server in servers:
        server.start(*restart_with)
    wait_ready(tour.first, tour.second)


def _as_typed() -> str:
    """How this command is called in another shell: by its path where it is in no folder of PATH, as after `make demo`."""
    if shutil.which("accord"):
        return "accord"
    beside = Path(sys.executable).with_name("accord")
    return shlex.quote(str(beside)) if beside.exists() else f"{shlex.quote(sys.executable)} -m accord"


def _by_default_again(tour: Tour) -> None:
    """What a visitor edits now becomes a rival, as anywhere else."""
    tour.say(
        "So far both adopted what was edited in their directories, and looked there only when asked. From here on they have the "
        "default: they notice an edit by themselves, and it makes rivals."
    )
    with _stopped(tour, tour.first, tour.second, restart_with=()):
        pass


def _stay(tour: Tour) -> None:
    first, second = tour.first, tour.second
    tour.console.print("\nThe servers stay up; play with them. Their directories are ordinary folders:")
    for server in (first, second):
        tour.console.print(f"  {server.name}: {server.url}/list/   {escape(str(server.root))}")
    accord = escape(_as_typed())
    tour.console.print(
        f"\n  {accord} ls --server {first.url}\n  {accord} stat file2.txt --server {first.url}\n"
        f"  {accord} diff file2.txt --server {first.url}\n  echo edited >> {escape(str(first.root))}/file3.txt\n"
        f"  {accord} stat file3.txt --server {second.url}\n\nCtrl-C ends the demonstration and removes its files."
    )
    while all(server.process and server.process.poll() is None for server in (first, second)):
        time.sleep(1)
    tour.console.print("[red]A server has ended.[/red]")

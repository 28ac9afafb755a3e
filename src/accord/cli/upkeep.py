"""`accord scan`, `scrub` and `sync`: have the servers look for differences and mend them, all of them with one command.

The work goes on whether anybody waits for it or not; waiting is `cli.upkeep_waiting`'s. What it means for the exit code is decided
here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from accord.cli.exit_codes import FAILED, INTEGRITY, NOT_FOUND, OK, RIVALS, SILENT, worst
from accord.cli.options import DEFAULTS, Common

if TYPE_CHECKING:
    from accord.cli.outcomes import FoundNow, ServerRun, Upkeep
    from accord.client.blocking import Client
    from accord.client.status import OddCopy, Ordered
    from accord.engine.overview import Overview

MAX_REPORTED_FINDINGS = 10_000
"""The servers remember no more of a run either."""

On = Annotated[tuple[str, ...], Parameter(name="--on", consume_multiple=False, negative=(), show_default=False)]
Wait = Annotated[bool, Parameter(name="--wait", negative="--no-wait", show_default=False)]
Work = Literal["scan", "scrub", "sync"]


def app_command(app: App) -> None:
    app.command(scan, usage="Usage: accord scan [OPTIONS] [PATH]")
    app.command(scrub, usage="Usage: accord scrub [OPTIONS] [PATH]")
    app.command(sync, usage="Usage: accord sync [OPTIONS] [PATH]")


def scan(
    path: Annotated[str, Parameter(show_default=False)] = "",
    /,
    *,
    on: On = (),
    wait: Wait = True,
    common: Common = DEFAULTS,
) -> int:
    """Look for what was changed behind Accord's back, on all servers.

    Files that were edited, cut, lost or put back are found by their stat data: what did not change is not read. What has one right
    answer is mended from the other servers; the rest is reported. Servers do this by themselves at the start, when the file system
    hints at a change, and on their schedule.

    Exit code 8 if something is damaged or lost and nobody has a good copy, else 6 if there are rival versions, else 3 if a server
    could not be asked, else 1 if something could not be mended yet, else 5 if nobody knows the path, else 0. Ctrl-C stops the waiting,
    not the work.

    Examples:

        accord scan

        accord scan photos --on server2

    Parameters
    ----------
    path
        Only this file, or everything in this folder.
    on
        Only on the server of this name; repeat it for several.
    wait
        Wait until it is done, and report what was found.
    """
    return _perform("scan", path, on, wait, common)


def scrub(
    path: Annotated[str, Parameter(show_default=False)] = "",
    /,
    *,
    on: On = (),
    wait: Wait = True,
    common: Common = DEFAULTS,
) -> int:
    """Read every byte on all servers, and compare it with its digest: rot is found before somebody needs the file.

    Reading is slowed down to what the servers are set to (`scrub_rate`, `scrub_share`), so that it may take long; it goes on after a
    restart. A damaged copy is put into quarantine and replaced from a server that has a good one. Servers do this by themselves on
    their schedule.

    Exit codes as those of `accord scan`.

    Examples:

        accord scrub photos/cat.png

        accord scrub --no-wait

    Parameters
    ----------
    path
        Only this file, or everything in this folder.
    on
        Only on the server of this name; repeat it for several.
    wait
        Wait until it is done, and report what was found.
    """
    return _perform("scrub", path, on, wait, common)


def sync(
    path: Annotated[str, Parameter(show_default=False)] = "",
    /,
    *,
    on: On = (),
    wait: Wait = True,
    pause: Annotated[bool, Parameter(name="--pause", negative=(), show_default=False)] = False,
    resume: Annotated[bool, Parameter(name="--resume", negative=(), show_default=False)] = False,
    common: Common = DEFAULTS,
) -> int:
    """Have all servers compare themselves with each other, and mend what differs.

    Comparing costs next to nothing where nothing differs. Servers do this by themselves, when they meet and on their schedule.

    Exit codes as those of `accord scan`.

    Examples:

        accord sync

        accord sync --pause

    Parameters
    ----------
    path
        Only this file, or everything in this folder.
    on
        Only on the server of this name; repeat it for several.
    wait
        Wait until it is done, and report what was mended.
    pause
        Mend nothing in the background until --resume: reads still heal what passes by.
    resume
        Mend again.
    """
    from accord.errors import UsageError

    if pause and resume:
        raise UsageError("--pause and --resume contradict each other.")
    if path and (pause or resume):
        raise UsageError("Healing is paused and resumed as a whole, not for one path.")
    if pause or resume:
        return _switch("pause" if pause else "resume", on, common)
    return _perform("sync", path, on, wait, common)


def _perform(work: Work, path: str, on: tuple[str, ...], wait: bool, common: Common) -> int:
    from accord.cli.outcomes import Upkeep
    from accord.cli.upkeep_waiting import not_begun, waited
    from accord.errors import Unavailable

    out = common.output()
    goes_on = f"the {work} goes on: `accord status` tells how far it is"
    with common.client() as client:
        scope = _scope(client, path)
        try:
            ordered = _ordered(client, work, scope, on)
        except KeyboardInterrupt:  # nobody said yet that it was heard
            out.note(f"the {work} may have begun, and then goes on: `accord status` tells how far it is")
            raise
        if not wait:
            servers = not_begun(ordered, "begun")
            code = worst_of((), servers, {})
            out.upkeep(Upkeep(work, ordered.scope, ordered.number, servers, (), code))
            return code
        try:
            servers, overview = waited(client, ordered, json=common.json)
        except KeyboardInterrupt:
            out.note(goes_on)
            raise
        except Unavailable as error:
            error.detail += f" As far as is known, {goes_on}."
            raise
        done = _report(client, ordered, servers, overview)
    out.upkeep(done)
    if done.exit_code == NOT_FOUND:
        out.note(f"no server has anything at '{done.scope}'")
    return done.exit_code


def _switch(work: Literal["pause", "resume"], on: tuple[str, ...], common: Common) -> int:
    from accord.cli.outcomes import Upkeep
    from accord.cli.upkeep_waiting import not_begun

    with common.client() as client:
        ordered = client.pause(servers=on) if work == "pause" else client.resume(servers=on)
    servers = not_begun(ordered, "done")
    code = worst_of((), servers, {})
    common.output().upkeep(Upkeep(work, "", ordered.number, servers, (), code))
    return code


def _ordered(client: Client, work: Work, scope: str, on: tuple[str, ...]) -> Ordered:
    match work:
        case "scan":
            return client.scan(scope, servers=on)
        case "scrub":
            return client.scrub(scope, servers=on)
        case "sync":
            return client.sync(scope, servers=on)


def _scope(client: Client, path: str) -> str:
    """A folder may be named without its slash."""
    from accord.model.verdict import EMPTY_FOLDER, FOLDER

    if not path.strip("/"):
        return ""
    if path.endswith("/"):
        return path
    verdict = client.stat(path)
    is_folder = any(one.reason in (FOLDER, EMPTY_FOLDER) for one in verdict.servers)
    return f"{path}/" if is_folder and not verdict.versions else path


def _report(client: Client, ordered: Ordered, servers: tuple[ServerRun, ...], overview: Overview) -> Upkeep:
    from accord.cli.outcomes import Upkeep
    from accord.cli.status import is_unknown_folder

    found = () if ordered.work == "sync" else islice(client.findings("", order=ordered.number), MAX_REPORTED_FINDINGS)
    findings = tuple(_now(client, one) for one in found)
    kinds = _kinds(client, ordered.scope, overview)
    code = worst_of(findings, servers, kinds)
    is_file = bool(ordered.scope) and not ordered.scope.endswith("/")
    if code == OK and (is_unknown_folder(overview) or (is_file and not kinds)):
        code = NOT_FOUND
    return Upkeep(ordered.work, ordered.scope, ordered.number, servers, findings, code)


def _kinds(client: Client, scope: str, overview: Overview) -> dict[str, int]:
    """How many paths of the scope have which verdict. A file that nobody has and nobody remembers is none."""
    from accord.errors import NotFound
    from accord.model.verdict import Kind

    if scope and not scope.endswith("/"):
        kind = client.stat(scope).verdict
        if kind is Kind.MISSING:
            try:
                client.history(scope)
            except NotFound:
                return {}
        return {kind.value: 1}
    return overview.kinds | ({Kind.DIVERGED.value: overview.rivals} if overview.rivals else {})


def _now(client: Client, one: OddCopy) -> FoundNow:
    """What became of an odd copy: the verdict of its path, taken now."""
    import msgspec

    from accord.cli.outcomes import FoundNow
    from accord.cli.upkeep_waiting import fate_of

    verdict = client.stat(one.path)
    return FoundNow(**msgspec.structs.asdict(one), now=fate_of(one.server, verdict), verdict=verdict.verdict)


def worst_of(findings: Sequence[FoundNow], servers: Sequence[ServerRun], kinds: Mapping[str, int]) -> int:
    """What the command ends with: what is not mended *yet* counts only where nothing else is the matter."""
    from accord.model.verdict import Kind

    codes: set[int] = set()
    nobody_has = (Kind.DAMAGED, Kind.MISSING)
    if any(kinds.get(kind.value) for kind in nobody_has) or any(one.verdict in nobody_has for one in findings):
        codes.add(INTEGRITY)
    if kinds.get(Kind.DIVERGED.value) or any(one.verdict is Kind.DIVERGED for one in findings):
        codes.add(RIVALS)
    if any(one.state not in ("done", "begun", "paused") for one in servers):
        codes.add(SILENT)
    if codes:
        return worst(codes)
    failed = any(one.state == "paused" or (one.run is not None and one.run.error) for one in servers) or any(
        one.failed for server in servers for one in server.sync
    )
    unmended = any(one.verdict in (Kind.STALE, Kind.PARTIAL, Kind.UNKNOWN) for one in findings)
    return FAILED if failed or unmended else OK

"""`accord status`: how the servers stand to each other, and what is not the same everywhere.

Nothing is walked and no file is read for it. What it means for the exit code is decided here; how it looks is left to `cli.output`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from accord.cli.exit_codes import INTEGRITY, NOT_FOUND, RIVALS, SILENT, worst
from accord.cli.options import DEFAULTS, Common

if TYPE_CHECKING:
    from accord.client.blocking import Client
    from accord.engine.overview import Overview

PathKind = Literal["diverged", "stale", "partial", "damaged", "missing", "unverified", "unknown", "estranged", "clash"]


def app_command(app: App) -> None:
    app.command(status, usage="Usage: accord status [OPTIONS] [PREFIX]")


def status(
    prefix: Annotated[str, Parameter(show_default=False)] = "",
    /,
    *,
    paths: Annotated[bool, Parameter(name="--paths", negative=(), show_default=False)] = False,
    kind: Annotated[list[PathKind] | None, Parameter(name="--kind", negative=(), consume_multiple=False)] = None,
    common: Common = DEFAULTS,
) -> int:
    """Show how the servers stand: reachable, in sync or how far behind, what they do, and how many files have which verdict.

    It is answered from what the servers know, without looking at any file. With --paths, every path whose copies do not agree is one
    line, with a verdict that is taken now. Exit code 6 if there are rival versions, else 8 if something is damaged or lost and nobody
    has a good copy, else 3 if a server cannot be asked, else 5 if nobody knows anything in the folder, else 0.

    Examples:

        accord status

        accord status photos --paths --kind diverged --kind damaged

    Parameters
    ----------
    prefix
        Count (or list) only what is in this folder.
    paths
        List the paths that are not the same everywhere.
    kind
        List only paths with this verdict; repeat it for several. `estranged`: only a server that was away for longer than deletions
        are remembered has it. `missing`: it vanished from every server without having been deleted. `clash`: names that become one on
        other file systems.
    """
    with common.client() as client:
        overview = client.status(prefix)
        if paths or kind:
            _list(client, prefix, kind or [], common)
        else:
            common.output().overview(overview)
    if is_unknown_folder(overview):
        common.output().note(f"no server that answered has anything in '{overview.prefix}'")
    return exit_code_of(overview)


def exit_code_of(overview: Overview) -> int:
    """Rivals come first: they wait for somebody's choice, and who watches for them is to be told whatever else there is. Of the rest,
    the worst. That nobody knows a folder is only certain once all could be asked."""
    from accord.model.verdict import Kind

    if overview.rivals:
        return RIVALS
    codes: set[int] = set()
    if overview.kinds.get(Kind.DAMAGED.value) or overview.kinds.get(Kind.MISSING.value):
        codes.add(INTEGRITY)
    if not all(line.reachable for line in overview.servers):
        codes.add(SILENT)
    elif is_unknown_folder(overview):
        codes.add(NOT_FOUND)
    return worst(codes)


def is_unknown_folder(overview: Overview) -> bool:
    """A folder was asked for that nobody who answered knows: a slip of the pen, or a file."""
    told = [line.status for line in overview.servers if line.status is not None]
    return bool(overview.prefix) and not any(one.files or one.deleted or one.kinds or one.findings for one in told)


def _list(client: Client, prefix: str, kinds: list[PathKind], common: Common) -> None:
    from accord.cli import words

    out = common.output()
    asked = [one for one in kinds if one != "clash"]
    silent: dict[str, str] = {}
    if asked or not kinds:
        differences = client.differences(prefix, kinds=asked)
        for path in differences:
            out.differing(path)
        silent |= {one.name: one.reason or "" for one in differences.silent}
    if "clash" in kinds:
        clashes = client.clashes(prefix)
        for clash in clashes:
            out.clash(clash)
        silent |= {one.name: one.reason or "" for one in clashes.silent}
    if silent:
        told = (f"{name} ({reason})" if reason else name for name, reason in silent.items())
        out.note(f"could not ask {words.names(told)}: what only they know is missing here")

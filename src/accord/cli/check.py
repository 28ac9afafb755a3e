"""`accord check`: compare two folders, or servers, or one with the other, without any cluster.

What a side is, is `cli.check_sides`'; what differs is found by `client.compare`. What that means for the exit code is decided here.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from accord.cli.exit_codes import SILENT, worst
from accord.cli.options import DEFAULT_JOBS, DEFAULT_TIMEOUT_S, Common, Jobs, checked_jobs

if TYPE_CHECKING:
    from accord.cli.bar import Bar
    from accord.cli.check_sides import Side
    from accord.cli.output import Output
    from accord.client.compare import Comparing
    from accord.client.results import Relation


def app_command(app: App) -> None:
    app.command(check, usage="Usage: accord check [OPTIONS] LEFT RIGHT")


def check(
    left: str,
    right: str,
    /,
    *,
    every: Annotated[bool, Parameter(name=["--all", "-a"], negative=(), show_default=False)] = False,
    size_only: Annotated[bool, Parameter(name="--size-only", negative=(), show_default=False)] = False,
    jobs: Jobs = DEFAULT_JOBS,
    json: Annotated[bool, Parameter(name="--json", negative=(), show_default=False)] = False,
    timeout: Annotated[float, Parameter(name="--timeout")] = DEFAULT_TIMEOUT_S,
) -> int:
    """Compare two folders, or servers, or a folder with a server: `accord check LEFT RIGHT`.

    Each side is a folder of this machine (no server has to know of it), a server (`http://127.0.0.1:65001/`), or a folder on one
    (`http://127.0.0.1:65001/files/photos/`). Contents are compared: local files are read, servers tell their digests. A server
    stands for what it serves; two servers of one cluster, for the copies that each of them holds itself. Two single files can be
    compared as well.

    Each difference is a line that begins with a symbol:

    - `+` only in LEFT
    - `-` only in RIGHT
    - `*` different, or one of several rival versions
    - `!` not to be compared: a link, an unreadable file, a damaged copy
    - `=` the same (with --all)

    Exit code 0 if all is the same, 6 if something differs; 1 if something could not be read, 8 if copies are damaged, 3 if a
    server could not be asked, 2 if there is no such folder.

    Examples:

        accord check photos backup/photos

        accord check photos http://127.0.0.1:65001/files/photos/

        accord check http://127.0.0.1:65001 http://127.0.0.1:65002 --all

    Parameters
    ----------
    left
        A folder, or the address of a server or of a folder on it.
    right
        What to compare it with, written likewise.
    every
        Also show what is the same.
    size_only
        Compare sizes alone: nothing is read.
    jobs
        How many files are read at a time.
    json
        Print JSON for programs, one value a line.
    timeout
        How many seconds a server may keep silent.
    """
    from accord.cli.bar import bar_over_files
    from accord.cli.check_sides import opened
    from accord.client.compare import Comparing

    common = Common(json=json, timeout=timeout)
    with bar_over_files(json=json) as bar, ExitStack() as clients:
        out = common.output(bar)
        comparing = Comparing(checked_jobs(jobs), size_only, bar.known, bar.file)
        return _report(opened(left, right, common, out, clients), comparing, every, out, bar)


def _report(sides: tuple[Side, Side], comparing: Comparing, every: bool, out: Output, bar: Bar) -> int:
    from accord.cli import words
    from accord.cli.lines import SYMBOLS
    from accord.cli.outcomes import CheckSummary
    from accord.client.compare import compare

    counts: Counter[Relation] = Counter()
    codes: set[int] = set()
    bar.say("comparing")
    with closing(compare(sides[0].entries, sides[1].entries, comparing)) as results:
        for one in results:
            bar.say(one.path)
            counts[one.result] += 1
            codes.add(one.exit_code)
            if every or one.result != "same":
                out.compared(one)
    bar.all_known()
    for side in sides:
        if side.silent:
            codes.add(SILENT)
            out.note(f"{side.title}: could not ask {words.names(side.silent)}: what only they have is not compared")
    code = worst(codes)
    out.checked(CheckSummary({result: counts[result] for result in SYMBOLS if counts[result]}, code))
    return code

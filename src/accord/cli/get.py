"""`accord get`: save files; where there are rivals, save them all, side by side.

Where they go and what the exit code is; one path is `cli.getting`'s, a tree `cli.get_tree`'s.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from accord.cli.app import STDOUT
from accord.cli.exit_codes import worst
from accord.cli.getting import Choices, get_one
from accord.cli.options import DEFAULT_JOBS, DEFAULTS, Common, DryRun, Jobs, Recursive, Verify, checked_jobs

if TYPE_CHECKING:
    from accord.cli.outcomes import Fetched, TreeItem
    from accord.cli.output import Output
    from accord.cli.progress import Watch
    from accord.client.blocking import Client


def app_command(app: App) -> None:
    app.command(get, usage="Usage: accord get [OPTIONS] PATH... [DEST]")


def get(
    *paths: Annotated[str, Parameter(name="PATH", required=True)],
    to: Annotated[str | None, Parameter(name="--to")] = None,
    version: Annotated[str | None, Parameter(name="--version")] = None,
    verify: Verify = "stat",
    no_resume: Annotated[bool, Parameter(name="--no-resume", negative=(), show_default=False)] = False,
    no_clobber: Annotated[bool, Parameter(name="--no-clobber", negative=(), show_default=False)] = False,
    strict: Annotated[bool, Parameter(name="--strict", negative=(), show_default=False)] = False,
    recursive: Recursive = False,
    jobs: Jobs = DEFAULT_JOBS,
    dry_run: DryRun = False,
    common: Common = DEFAULTS,
) -> int:
    """Save files: `accord get PATH [DEST]`, `accord get PATH PATH... FOLDER`, or `accord get -r PREFIX [FOLDER]`.

    DEST is a file, a folder, or `-` for stdout; without it, the file goes into the current folder under its own name. What is there is
    replaced in one step, once the whole file has arrived and its digest was right. An interrupted download is resumed by the next.

    Rival versions are all saved, side by side, named by the servers that have them at the path (`notes.server1.txt`,
    `notes.server2+server3.txt`) or else by their digest, and the exit code is 6. They never replace a file that has other contents:
    then a number is added.

    A file that was delivered while some server could not be asked is exit code 0 with a note on stderr; with --strict it is 3. Of
    several paths, each is tried, whatever becomes of the others, and the exit code is that of the worst.

    With --recursive, everything below PREFIX is saved in FOLDER, several files at a time. What is there already, by its digest, is
    skipped, and an interrupted run that is started again finishes the rest. Nothing is written through links. What failed is named,
    the others go on, and the exit code is that of the worst. With --json, one value a line: a file, and at the end a summary.

    Examples:

        accord get notes.txt

        accord get photos/cat.png photos/dog.png --to pictures

        accord get -r photos pictures

    Parameters
    ----------
    paths
        What to save; the last of two or more is the destination, unless --to names it.
    to
        The destination; then every PATH is a file to save.
    version
        Save this version: its digest, or the first 12 or more hex digits of it.
    verify
        `stat` trusts the servers' stat data, `content` has every copy read anew, `none` asks one server only.
    no_resume
        Begin anew, whatever an earlier attempt left.
    no_clobber
        Leave a file alone that is there already (exit code 1).
    strict
        Exit code 3 if some server could not be asked.
    recursive
        Save everything below a prefix.
    jobs
        How many files at a time, with --recursive.
    dry_run
        Only show what would be done.
    """
    from accord.cli.progress import progress_of

    sources, destination = _destination(paths, to)
    choices = Choices(version, verify, not no_resume, not no_clobber, strict)
    if recursive:
        return _get_tree(sources, destination, choices, checked_jobs(jobs), dry_run, common)
    if dry_run:
        return _show_only(sources, destination, common.output())
    out = common.output()
    with common.client() as client:
        if destination == STDOUT:
            return _to_stdout(client, sources, choices, common)
        watch = partial(progress_of, json=common.json)
        results, code = _get_each(client, sources, destination, choices, out, watch)
    out.fetched(results, several=len(sources) > 1)
    return code


def _destination(paths: tuple[str, ...], to: str | None) -> tuple[tuple[str, ...], str]:
    """Which of the words are files to save, and where they go. Raises `UsageError`."""
    from accord.errors import UsageError

    sources, destination = (paths, to) if to is not None else (paths[:-1], paths[-1])
    if to is None and len(paths) == 1:
        sources, destination = paths, "."
    if destination is None or not destination:
        raise UsageError("The destination is empty.")
    if len(sources) > 1 and destination != STDOUT and not Path(destination).is_dir():
        raise UsageError(f"Several files need a folder to go to, and {destination} is none.")
    return sources, destination


def _show_only(sources: tuple[str, ...], destination: str, out: Output) -> int:
    """Where each would go; nobody is asked whether it is there."""
    from accord.cli.trees import report

    return report((_planned(path, destination) for path in sources), out)


def _planned(path: str, destination: str) -> TreeItem:
    from accord.cli.outcomes import TreeItem
    from accord.cli.trees import failed
    from accord.cli.words import printable
    from accord.client.parts import settle
    from accord.errors import AccordError
    from accord.model.names import FilePath

    try:
        name = FilePath(path).name
        target = destination if destination == STDOUT else str(settle(destination, name))
    except AccordError as error:
        return failed(error, path=printable(path), local=printable(destination))
    return TreeItem("would save", path, printable(target))


def _get_tree(
    sources: tuple[str, ...], destination: str, choices: Choices, jobs: int, dry_run: bool, common: Common
) -> int:
    from accord.cli.get_tree import get_tree
    from accord.errors import UsageError

    if len(sources) > 1 or choices.version is not None or destination == STDOUT:
        raise UsageError("--recursive takes one prefix and one folder, and the current versions of everything in it.")
    return get_tree(sources[0], Path(destination), choices, jobs, dry_run, common)


def _get_each(
    client: Client, sources: tuple[str, ...], destination: str, choices: Choices, out: Output, watch: Watch
) -> tuple[list[Fetched], int]:
    from accord.errors import AccordError

    results: list[Fetched] = []
    codes: set[int] = set()
    for path in sources:
        try:
            result, outcome = get_one(client, path, destination, choices, out, watch)
            results.append(result)
        except AccordError as error:
            if len(sources) == 1:
                raise
            out.error(error)
            outcome = error.exit_code
        codes.add(outcome)
    return results, worst(codes)


def _to_stdout(client: Client, sources: tuple[str, ...], choices: Choices, common: Common) -> int:
    from accord.cli.pouring import pour
    from accord.errors import UsageError

    if common.json:
        raise UsageError("`-` writes the files themselves to stdout, where --json has no place.")
    return pour(
        client,
        sources,
        common.output(),
        version=choices.version,
        verify=choices.verify,
        strict=choices.strict,
    )

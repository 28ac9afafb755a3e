"""The `accord` command: which command is where, and how every ending becomes an exit code.

Each command file registers its own through `app_command(app)`. Only the one that was asked for is imported, so that `accord get` does
not wait for the server's libraries; the help page imports them all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TextIO

from accord.cli.exit_codes import FAILED, INTERRUPTED, OK

if TYPE_CHECKING:
    from cyclopts import App

    from accord.cli.output import Output
    from accord.errors import AccordError

COMMANDS: Final = {
    "get": "accord.cli.get",
    "cat": "accord.cli.show",
    "stat": "accord.cli.show",
    "ls": "accord.cli.show",
    "put": "accord.cli.put",
    "rm": "accord.cli.remove",
    "cp": "accord.cli.copy",
    "mv": "accord.cli.copy",
    "log": "accord.cli.history",
    "restore": "accord.cli.history",
    "resolve": "accord.cli.resolve",
    "diff": "accord.cli.diff",
    "check": "accord.cli.check",
    "status": "accord.cli.status",
    "scan": "accord.cli.upkeep",
    "scrub": "accord.cli.upkeep",
    "sync": "accord.cli.upkeep",
    "serve": "accord.cli.serve",
    "demo": "accord.cli.demo",
    "config": "accord.cli.config",
}
"""Which module has which command."""

STDIN: Final = "/dev/stdin"
STDOUT: Final = "/dev/stdout"
_DASH: Final = {"get": STDOUT, "put": STDIN, "resolve": STDIN}
"""What `-` stands for: the parser takes a bare `-` for an option that it does not know."""

HELP: Final = """Keep the same files on several servers, and learn the truth about the copies.

Ask any server for a file: it compares its copy with the others' while it answers, and rival versions are never hidden.

For example: `accord demo`, `accord put notes.txt`, `accord get notes.txt`, `accord stat notes.txt --server http://127.0.0.1:65002`.
"""

EPILOGUE: Final = """Exit codes: 0 ok, 1 error, 2 usage, 3 some server could not be asked or gets a change later,
4 not authorised, 5 not found, 6 rival versions, 8 integrity failure, 130 interrupted."""


def make_app(wanted: str | None = None) -> App:
    """The application with the command `wanted` alone if there is one of that name, else with all."""
    from cyclopts import App

    app = App(
        name="accord",
        help=HELP,
        help_epilogue=EPILOGUE,
        help_format="markdown",
        version=_version,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
        print_error=False,
        exit_on_error=False,
    )
    modules = [COMMANDS[wanted]] if wanted in COMMANDS else list(dict.fromkeys(COMMANDS.values()))
    for module in modules:
        import_module(module).app_command(app)
    return app


def main() -> None:
    """The entry point. Never returns."""
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # both are TextIOWrapper here
    sys.exit(run(sys.argv[1:]))


def run(tokens: Sequence[str]) -> int:
    """One command from its words to its exit code."""
    try:
        code = _told(tokens)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has had enough (`| head`): nothing went wrong.
        hush(sys.stdout)
        return OK
    except OSError as error:
        # Servers and files that a command works on have errors of their own: this is our output, mostly, on a full disk.
        sys.stderr.write(f"accord: {error.filename or 'the output'}: {error.strerror or error}\n")
        hush(sys.stdout)
        return FAILED


def _told(tokens: Sequence[str]) -> int:
    from accord.errors import AccordError

    try:
        return _perform(tokens)
    except AccordError as error:
        _output(tokens).error(error)
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("\naccord: interrupted\n")
        return INTERRUPTED


def _perform(tokens: Sequence[str]) -> int:
    from cyclopts import CycloptsError

    app = make_app(tokens[0] if tokens else None)
    try:
        result: Any = app(_without_dash(tokens))
    except CycloptsError as error:
        raise _usage(tokens, error) from error
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    return result if isinstance(result, int) else OK


def _without_dash(tokens: Sequence[str]) -> list[str]:
    """Behind `--` a `-` is a name like any other, and the parser knows that by itself."""
    meant = _DASH.get(tokens[0]) if tokens else None
    if meant is None:
        return list(tokens)
    end = tokens.index("--") if "--" in tokens else len(tokens)
    return [meant if token == "-" else token for token in tokens[:end]] + list(tokens[end:])


def _usage(tokens: Sequence[str], error: Exception) -> AccordError:
    from accord.errors import UsageError

    command = f"accord {tokens[0]}" if tokens and tokens[0] in COMMANDS else "accord"
    text = " ".join(str(error).split()).partition(" Available commands:")[0]  # the first few of them: the help has all
    return UsageError(f"{text if text.endswith('?') else text.rstrip('.') + '.'} `{command} --help` tells more.")


def _output(tokens: Sequence[str]) -> Output:
    from accord.cli.output import output

    return output(json="--json" in tokens)


def _version() -> str:
    import accord

    return f"accord {accord.__version__}"


def _open_what_is_closed() -> None:
    """Started with a closed stdout or stderr (`>&-`), a command writes to nowhere, and never into a file that it opens later."""
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def hush(stream: TextIO) -> None:
    """What is still written goes nowhere; Python would complain about the closed pipe once more while it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)

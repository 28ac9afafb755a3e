"""docs/cli.md and `--help` name the same commands and options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

from accord.cli.app import COMMANDS, make_app
from accord.cli.serve import Settings
from accord.config import SETTINGS

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_OF_ALL = {"--help", "--server", "--json", "--timeout"}
"""Described once, for all commands."""


def sections() -> dict[str, str]:
    """What is written beneath each heading `## accord NAME`."""
    pieces = re.split(r"^## `accord ([a-z]+)`.*$", DOCS.read_text(), flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def options(app: App) -> Iterator[str]:
    """Every long option of a command and of those below it."""
    for name in app:
        if not name.startswith("-"):
            yield from options(app[name])
    if app.default_command is not None:
        for argument in app.assemble_argument_collection():
            yield from (name for name in argument.names if name.startswith("--"))


@pytest.fixture(scope="module")
def app() -> App:
    return make_app()


def test_every_command_is_documented_and_the_other_way_round(app: App) -> None:
    assert {name for name in app if not name.startswith("-")} == set(sections()) == set(COMMANDS)


@pytest.mark.parametrize("words", [*([name] for name in COMMANDS), ["config", "show"], ["config", "new-key"]])
def test_help_says_how_it_is_called_and_no_default_that_says_nothing(
    app: App, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    app([*words, "--help"], exit_on_error=False)
    shown = capsys.readouterr().out
    noises = ("default: ()", 'default: ""', "default: False", "default: None", "[ARGS]")
    assert not [noise for noise in noises if noise in shown]
    assert f"Usage: accord {' '.join(words)}" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_documented_and_the_other_way_round(app: App, command: str) -> None:
    written = set(_OPTION.findall(sections()[command]))
    real = set(options(app[command]))
    assert real - written - _OF_ALL == set(), "not in docs/cli.md"
    assert written - real - _OF_ALL == set(), "not in --help"


def test_every_setting_of_a_cluster_is_a_flag_of_serve() -> None:
    assert Settings().values().keys() == SETTINGS.keys()

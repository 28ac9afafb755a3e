"""`accord config`: what a server would be told and where each value comes from, and new keys.

Reading and checking are `config`'s; the key itself is never shown.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from accord.cli.exit_codes import OK


def app_command(app: App) -> None:
    config = App(name="config", help="See what a server would be told, and make keys.")
    config.command(show)
    config.command(new_key, name="new-key")
    app.command(config)


def show(
    *,
    config: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=(), show_default=False)] = False,
) -> int:
    """Every setting with its value and where it came from; the key only as set or not.

    Parameters
    ----------
    config
        The configuration file; without it, the one that `ACCORD_CONFIG` names.
    as_json
        Print JSON for programs: `{"settings": {NAME: {"value", "origin"}}, "warnings"}`.
    """
    from accord.config import FILE_VARIABLE, Flags, config_file, load_config
    from accord.errors import ConfigError

    file = config_file(config, os.environ)
    if file is None:
        raise ConfigError(f"Which configuration? Add --config accord.toml, or set {FILE_VARIABLE}.")
    loaded = load_config(file, Flags(), os.environ, make_key=False)
    if as_json:
        settings = {name: {"value": value, "origin": origin} for name, value, origin in loaded.shown()}
        print(json.dumps({"settings": settings, "warnings": list(loaded.warnings)}, ensure_ascii=False))
        return OK
    rows = [
        (name, str(value).lower() if isinstance(value, bool) else str(value), origin)
        for name, value, origin in loaded.shown()
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, origin in rows:
        print(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}")
    for warning in loaded.warnings:
        print(f"warning: {warning}")
    return OK


def new_key(file: Annotated[Path, Parameter(name="FILE")], /) -> int:
    """Write a new random cluster key to FILE, readable by you alone. A file that exists is never written over.

    Parameters
    ----------
    file
        Where to write it; copy it to every machine of the cluster, and name it as `key_file`.
    """
    from accord.cluster_key import new_key_file
    from accord.config import expanded

    new_key_file(expanded(file))
    print(f"A new key is in {file}. Copy it to every machine of the cluster, and name it as key_file.")
    return OK

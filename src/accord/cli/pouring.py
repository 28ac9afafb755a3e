"""Files to stdout, one after the other: `accord cat`, and `accord get PATH... -`.

Bytes are proven, and handed on from server to server, by the client (`client.transfer`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from accord.cli.exit_codes import OK, SILENT, worst

if TYPE_CHECKING:
    from accord.cli.options import Verify
    from accord.cli.output import Output
    from accord.client.blocking import Client


def pour(
    client: Client, paths: Iterable[str], out: Output, *, version: str | None, verify: Verify, strict: bool = False
) -> int:
    """Each is tried, whatever becomes of the others. Returns the exit code, that of the worst; a silent server counts only if
    `strict`."""
    from accord.errors import AccordError

    codes = set()
    for path in paths:
        try:
            code = _pour_one(client, path, out, version, verify)
            codes.add(code if strict else OK)
        except AccordError as error:
            sys.stdout.buffer.flush()  # what came before it
            out.error(error)
            codes.add(error.exit_code)
    return worst(codes)


def _pour_one(client: Client, path: str, out: Output, version: str | None, verify: Verify) -> int:
    from accord.cli import words

    with client.stream(path, version=version, verify=verify) as stream:
        for block in stream:
            sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()
    for one in stream.handovers:
        out.note(words.handover(path, one))
    if not stream.verdict.silent or verify == "none":
        return OK
    out.note(f"{path}: {words.silence(stream.verdict.silent)}")
    return SILENT

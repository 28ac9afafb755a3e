"""Accord: a replicated file service that never hides a disagreement.

The public names are here, each imported when it is first used, so that `import accord` costs nothing. What they do is left to
`accord.client`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accord.client.aio import AsyncClient
    from accord.client.blocking import Client
    from accord.client.results import Download, File, History, ServerReport, Verdict, Version, Written
    from accord.errors import AccordError
    from accord.model.verdict import Kind, State

    __version__: str

_HOMES = {
    "AccordError": "accord.errors",
    "AsyncClient": "accord.client.aio",
    "Client": "accord.client.blocking",
    "Download": "accord.client.results",
    "File": "accord.client.results",
    "History": "accord.client.results",
    "Kind": "accord.model.verdict",
    "ServerReport": "accord.client.results",
    "State": "accord.model.verdict",
    "Verdict": "accord.client.results",
    "Version": "accord.client.results",
    "Written": "accord.client.results",
}

__all__ = [
    "AccordError",
    "AsyncClient",
    "Client",
    "Download",
    "File",
    "History",
    "Kind",
    "ServerReport",
    "State",
    "Verdict",
    "Version",
    "Written",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        value: object = _version()
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'accord' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("accord")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"

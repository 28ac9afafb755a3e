"""Accord: a replicated file service that never hides a disagreement.

The public names are here; `accord.client` holds what they do.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("accord")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]

"""Durations, rates, sizes and ages as people write and read them.

Which setting is which, and where it came from, is left to `config`.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from accord.errors import ConfigError

NS_PER_S: Final = 1_000_000_000
MAX_DURATION_S: Final = 3600.0
"""What a request may be made to wait."""
MAX_INTERVAL_S: Final = 366 * 86_400.0
"""Between two runs of what is done again and again."""
MAX_RATE_BYTES_PER_S: Final = 1_000 * 1_000**3
MIN_RATE_BYTES_PER_S: Final = 1_000
NEVER: Final = "never"

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_UNITS_BYTES = {"kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)\Z")
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(kB|MB|GB|KiB|MiB|GiB)\Z")


def parse_duration_s(what: str, text: str) -> float:
    """Seconds from `500ms`, `1s`, `1.5s`, `2m` or `1h`; more than zero, at most an hour."""
    seconds = _seconds(what, text, "such as '500ms', '1s' or '2m'")
    if not 0 < seconds <= MAX_DURATION_S:
        raise ConfigError(f"{what} = '{text}' must be more than zero and at most {MAX_DURATION_S:.0f}s.")
    return seconds


def parse_interval_s(what: str, text: str) -> float | None:
    """How often something is done: seconds from `5m`, `1h` or `30d`, at most a year; None from `never`."""
    if text.strip() == NEVER:
        return None
    seconds = _seconds(what, text, "such as '5m', '1h' or '30d', or 'never'")
    if not 0 < seconds <= MAX_INTERVAL_S:
        raise ConfigError(f"{what} = '{text}' must be more than zero and at most 366d, or 'never'.")
    return seconds


def parse_rate_bytes(what: str, text: str) -> int:
    """Bytes a second from `50MB` or `1.5 GiB`."""
    matched = _RATE.match(text.strip())
    if not matched:
        raise ConfigError(f"{what} = '{text}' is no rate: write how much a second, such as '500kB', '50MB' or '1GiB'.")
    rate = round(float(matched[1]) * _UNITS_BYTES[matched[2]])
    if not MIN_RATE_BYTES_PER_S <= rate <= MAX_RATE_BYTES_PER_S:
        raise ConfigError(f"{what} = '{text}' must be from 1kB to 1000GB a second.")
    return rate


def interval_text(seconds: float | None) -> str:
    """As it would be written: in the largest unit that needs no fraction. `parse_interval_s` reads the same value from it."""
    if seconds is None:
        return NEVER
    for unit in ("d", "h", "m"):
        if seconds % _UNITS_S[unit] == 0:
            return f"{seconds / _UNITS_S[unit]:.0f}{unit}"
    return f"{_plain(Decimal(repr(seconds)))}s"


def rate_text(bytes_per_s: int) -> str:
    """As it would be written: in the largest unit that needs no fraction. `parse_rate_bytes` reads the same value from it."""
    for unit in ("GiB", "GB", "MiB", "MB", "KiB"):
        if bytes_per_s % _UNITS_BYTES[unit] == 0:
            return f"{bytes_per_s // _UNITS_BYTES[unit]}{unit}"
    return f"{_plain(Decimal(bytes_per_s) / 1000)}kB"


def size_text(size_bytes: int) -> str:
    """A size for people, in binary units, with one digit after the point."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    power = min((size_bytes.bit_length() - 1) // 10, len(_SIZE_UNITS))
    return f"{size_bytes / 1024**power:.1f} {_SIZE_UNITS[power - 1]}"


def age_text(seconds: float) -> str:
    """How long ago, for people: in the largest unit of which there is at least one, rounded down."""
    for unit, word in (("d", "day"), ("h", "h"), ("m", "min")):
        whole = int(seconds // _UNITS_S[unit])
        if whole:
            return f"{whole} {word}{'s' if unit == 'd' and whole != 1 else ''}"
    return f"{max(0, int(seconds))} s"


def _plain(number: Decimal) -> str:
    """All its digits, without an exponent, which nobody writes."""
    return format(number.normalize(), "f")


def _seconds(what: str, text: str, examples: str) -> float:
    matched = _DURATION.match(text.strip())
    if not matched:
        raise ConfigError(f"{what} = '{text}' is no duration: write a number and a unit, {examples}.")
    return float(matched[1]) * _UNITS_S[matched[2]]

"""Conditional requests: RFC 9110 section 13, decided on values.

One function reads the request's fields and says whether to go on, and with which Range. It knows nothing of files: the caller gives
the entity tag and the modified time of what it would send. What a Range means is left to `server.ranges`.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import Enum
from typing import NamedTuple

Headers = list[tuple[bytes, bytes]]
"""Header fields as in ASGI: names in lower case."""

MAX_FIELD_BYTES = 8192
MAX_TAGS = 256

FIELDS = frozenset((b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range", b"range"))
"""The fields that are looked at here."""

# Matches everywhere: an empty member of a list, too.
_TAG = re.compile(rb'[ \t]*(?:(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*)?')
_DAYS = "Mon|Tue|Wed|Thu|Fri|Sat|Sun"
_LONG_DAYS = "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = "(?P<month>" + "|".join(_MONTHS) + ")"
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_FORMATS = tuple(
    re.compile(pattern, re.ASCII)
    for pattern in (
        rf"(?:{_DAYS}), (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT",  # IMF-fixdate
        rf"(?:{_LONG_DAYS}), (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT",  # RFC 850
        rf"(?:{_DAYS}) {_MONTH} (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})",  # asctime
    )
)


class Outcome(Enum):
    """What the conditions amount to."""

    PROCEED = "proceed"
    """They hold, or there are none."""
    NOT_MODIFIED = "not modified"
    """The client has this already: 304."""
    PRECONDITION_FAILED = "precondition failed"
    """The client asked to be stopped: 412."""


class Decision(NamedTuple):
    """`range` is the Range field that applies; None where there is none, or where it is to be ignored."""

    outcome: Outcome
    range: bytes | None = None


_PROCEED = Decision(Outcome.PROCEED)
_FAILED = Decision(Outcome.PRECONDITION_FAILED)
_NOT_MODIFIED = Decision(Outcome.NOT_MODIFIED)


def evaluate(
    headers: Iterable[tuple[bytes, bytes]],
    *,
    method: bytes,
    etag: bytes | None,
    modified_s: int | None,
    now_s: float,
) -> Decision:
    """Apply the conditions in the order of RFC 9110 section 13.2.2.

    `etag` is the strong entity tag, in quotes, of what would be sent (None: there is nothing there), `modified_s` its modified time in
    whole seconds. A field that makes no sense is ignored if it is a date, and matches nothing if it is a list of tags.
    """
    given: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in FIELDS:
            given.setdefault(name, []).append(value)
    if not given:
        return _PROCEED
    reading = method in (b"GET", b"HEAD")
    if b"if-match" in given:
        if not _matches(given[b"if-match"], etag, weakly=False):
            return _FAILED
    elif _changed_since(given.get(b"if-unmodified-since"), modified_s, now_s) is True:
        return _FAILED
    if b"if-none-match" in given:
        if _matches(given[b"if-none-match"], etag, weakly=True):
            return _NOT_MODIFIED if reading else _FAILED
    elif reading and _changed_since(given.get(b"if-modified-since"), modified_s, now_s) is False:
        return _NOT_MODIFIED
    return Decision(Outcome.PROCEED, _applicable_range(given, etag)) if method == b"GET" else _PROCEED


def _applicable_range(given: dict[bytes, list[bytes]], etag: bytes | None) -> bytes | None:
    """The Range field, unless it is repeated or If-Range does not hold.

    If-Range with a date never holds here: a modified time can be set by any tool, so it is no strong validator (section 13.1.5);
    every answer has a strong entity tag that does better.
    """
    ranges = given.get(b"range", [])
    if len(ranges) != 1:
        return None
    conditions = given.get(b"if-range")
    if conditions is None:
        return ranges[0]
    return ranges[0] if etag is not None and [value.strip() for value in conditions] == [etag] else None


def _matches(values: list[bytes], etag: bytes | None, *, weakly: bool) -> bool:
    """Whether a field of entity tags names `etag`. `*` names anything that is there."""
    if etag is None:
        return False
    field = b",".join(values)
    if field.strip() == b"*":
        return True
    if len(field) > MAX_FIELD_BYTES:
        return False
    return any(tag == etag and (weakly or not weak) for weak, tag in entity_tags(field))


def entity_tags(field: bytes) -> list[tuple[bool, bytes]]:
    """The entity tags of a list, each with whether it is weak; none at all if any part of the list is malformed."""
    tags: list[tuple[bool, bytes]] = []
    position = 0
    while position < len(field) and len(tags) <= MAX_TAGS:
        found = _TAG.match(field, position)
        assert found is not None
        if found[2] is not None:
            tags.append((found[1] is not None, found[2]))
        position = found.end() + 1
        if field[position - 1 : position] not in (b",", b""):
            return []
    return tags if len(tags) <= MAX_TAGS else []


def _changed_since(values: list[bytes] | None, modified_s: int | None, now_s: float) -> bool | None:
    """Whether it was modified after the given date; None where there is no date that could be compared."""
    if values is None or len(values) != 1 or modified_s is None:
        return None
    date_s = parse_http_date(values[0], now_s=now_s)
    return None if date_s is None else modified_s > date_s


def parse_http_date(raw: bytes, *, now_s: float) -> int | None:
    """Seconds since the epoch of an HTTP-date in any of the three formats of RFC 9110 section 5.6.7, or None if it is none.

    A year of two digits that seems more than 50 years ahead of `now_s` is the one a century before.
    """
    try:
        text = raw.decode("ascii").strip(" \t")
    except UnicodeDecodeError:
        return None
    found = next(filter(None, (form.fullmatch(text) for form in _FORMATS)), None)
    if found is None:
        return None
    year, second = int(found["year"]), int(found["second"])
    if len(found["year"]) == 2:
        year = _full_year(year, now_s)
    month = _MONTHS.index(found["month"]) + 1
    try:
        # 60 is a leap second; the calendar knows only 59.
        datetime(year, month, int(found["day"]), int(found["hour"]), int(found["minute"]), min(second, 59), tzinfo=UTC)
    except ValueError:
        return None
    if second > 60:
        return None
    return calendar.timegm((year, month, int(found["day"]), int(found["hour"]), int(found["minute"]), second))


def _full_year(two_digits: int, now_s: float) -> int:
    this_year = datetime.fromtimestamp(now_s, UTC).year
    year = this_year - this_year % 100 + two_digits
    return year - 100 if year > this_year + 50 else year

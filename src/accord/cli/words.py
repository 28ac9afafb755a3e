"""Values as a person reads them: digests, verdicts in a sentence, and text that cannot play tricks on a terminal.

Where the words go is left to `cli.output`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Final

from accord.client.results import Handover, NotStored, ServerReport, Verdict, Version, Written, convert
from accord.errors import AccordError, UsageError
from accord.model.names import Digest
from accord.model.verdict import Kind, State

SHORT_HEX: Final = 12
_AT_PATH: Final = frozenset({State.CURRENT, State.RIVAL, State.DELETED})


def short(digest: Digest | None) -> str:
    return "-" if digest is None else digest.hex()[:SHORT_HEX]


def names(servers: Iterable[str]) -> str:
    return ", ".join(servers) or "no server"


def moment(modified: str | None) -> str:
    """To the second, in UTC."""
    return "-" if modified is None else modified[:19].replace("T", " ") + "Z"


def sentence(verdict: Verdict, *, with_silence: bool = True) -> str:
    """The verdict in words; `with_silence` also says who did not answer, where it does not hang on that anyway."""
    holders = names(one.name for one in verdict.servers if one.state is State.CURRENT)
    text = _verdict_words(verdict, holders)
    if with_silence and verdict.silent and verdict.verdict is not Kind.UNKNOWN:
        text += f"; {silence(verdict.silent)}"
    return text


def _verdict_words(verdict: Verdict, holders: str) -> str:
    match verdict.verdict:
        case Kind.IDENTICAL:
            return f"identical on {holders}"
        case Kind.STALE:
            return f"current on {holders}; an older version on {_in_state(verdict, State.STALE)}"
        case Kind.PARTIAL:
            lacking = _in_state(verdict, State.ABSENT, State.DAMAGED)
            return f"on {holders}, lacking on {lacking}"
        case Kind.UNVERIFIED:
            return f"on {holders}, which nobody could confirm"
        case Kind.DIVERGED:
            count = len(verdict.versions)
            return f"{count} rival versions" if count > 1 else "one of the rival versions"
        case Kind.DELETED:
            return "deleted"
        case Kind.MISSING:
            return "File Not Found: no server has it"
        case Kind.UNKNOWN:
            return f"not known whether it exists: {silence(verdict.silent)}"
        case Kind.DAMAGED:
            return "damaged: no good copy of it is left on the servers that answered"


def silence(silent: Iterable[ServerReport]) -> str:
    """Who gave no answer: some could not be asked, others are still hashing their copies."""
    silent = list(silent)
    told = []
    for state, start in ((State.UNREACHABLE, "could not ask "), (State.CHECKING, "still being hashed on ")):
        those = [f"{one.name} ({one.reason})" if one.reason else one.name for one in silent if one.state is state]
        told += [start + names(those)] * bool(those)
    return "; ".join(told) or "could not ask anybody"


def stored(written: Written, *, brings_rivals_back: bool = False) -> str:
    """Who has it, and who gets it later. Rivals mean that somebody else wrote too, unless they are what was wanted."""
    deed = "deleted" if written.digest is None else "stored"
    text = f"{deed} on {names(written.stored)}{_later(written.missing)}"
    if written.result.verdict is Kind.DIVERGED:
        text += "; again " if brings_rivals_back else "; somebody else wrote at the same time: "
        text += sentence(written.result, with_silence=not brings_rivals_back)
    return text


def stored_so_far(told: Mapping[str, Any]) -> str:
    """Likewise, from the members of a problem."""
    stored, missing = told.get("stored", ()), convert(tuple[NotStored, ...], told.get("missing", ()))
    return f"stored on {names(str(name) for name in stored)}{_later(missing)}"


def _later(missing: Iterable[NotStored]) -> str:
    reasons = ((one.name, f" ({one.reason.rstrip('.')})" if one.reason else "") for one in missing)
    return "".join(f"; {name} gets it later{reason}" for name, reason in reasons)


def trouble(error: AccordError) -> str:
    """What went wrong: the title first, unless the detail begins with it or it says nothing beyond that."""
    detail = error.detail
    if type(error) in (AccordError, UsageError) or detail.startswith(error.title):
        return detail
    return f"{error.title}: {detail}"


def count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def handover(path: str, one: Handover) -> str:
    by = "it was asked again" if one.continued_by == one.broken_off else f"continued from {one.continued_by}"
    return f"{path}: {one.broken_off} broke off at {one.at_bytes} bytes; {by}"


def holders_of(version: Version) -> str:
    return names(version.servers)


def label(verdict: Verdict, version: Version) -> str:
    """What tells one rival from the others: the servers that have it at the path. One that is only kept aside, which every server does
    with all rivals, has its digest for a name."""
    at_path = [one.name for one in verdict.servers if one.digest == version.digest and one.state in _AT_PATH]
    return "+".join(at_path) or short(version.digest)


def printable(name: str) -> str:
    """A name of this machine's that is no UTF-8, with those of its bytes written out that are no text: as JSON, and everything that is
    sent, takes nothing else."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def visible(text: str) -> str:
    """For a terminal: control and invisible formatting characters are written out, so that no content moves the cursor,
    sets colours, or reorders what is read. Tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_written_out(character) for character in text)


def _written_out(character: str) -> str:
    if character == "\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _in_state(verdict: Verdict, *states: State) -> str:
    return names(one.name for one in verdict.servers if one.state in states)

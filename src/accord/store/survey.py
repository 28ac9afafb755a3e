"""What a walk comes across beside files: folders that cannot be read, names that Accord cannot use, names that collide.

Counted, with a few examples, for the first hashing to report; what is in the tree is `walk`'s. Written by one thread, read by any.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

MAX_EXAMPLES = 5
MAX_EXAMPLE_CHARS = 300


class Survey:
    def __init__(self) -> None:
        self.unreadable = 0
        """Folders, and files whose stat data or bytes could not be had: what is there is not known."""
        self.unreadable_examples: tuple[str, ...] = ()
        self.unnameable = 0
        """Files and folders under names that are no paths of Accord's; they are neither listed nor served."""
        self.unnameable_examples: tuple[str, ...] = ()
        self.colliding = 0
        """Names that another one of their folder equals after NFC and case folding."""
        self.colliding_examples: tuple[tuple[str, str], ...] = ()

    def note_unreadable(self, path: str, reason: str) -> None:
        self.unreadable += 1
        if len(self.unreadable_examples) < MAX_EXAMPLES:
            self.unreadable_examples += (f"{shown(path) or 'the top folder'} ({reason})",)

    def note_unnameable(self, path: str) -> None:
        self.unnameable += 1
        if len(self.unnameable_examples) < MAX_EXAMPLES:
            self.unnameable_examples += (shown(path),)

    def note_names(self, folder: str, names: Sequence[str]) -> None:
        """All usable names of one folder, a folder's with a slash at its end."""
        together = "".join(names)
        if together.isascii() and together == together.lower():
            return  # none of them folds into anything
        for one, other in collisions([name.removesuffix("/") for name in names]):
            self.note_clash(folder + one, folder + other)

    def note_clash(self, one: str, other: str) -> None:
        self.colliding += 1
        if len(self.colliding_examples) < MAX_EXAMPLES:
            self.colliding_examples += ((shown(one), shown(other)),)


def collisions(names: Sequence[str]) -> list[tuple[str, str]]:
    """Each name that equals another one after NFC and case folding, behind that other. Names of lower-case ASCII, nearly all, are
    their own folding: they cost one comparison each."""
    folding = [name for name in names if not name.isascii() or name != name.lower()]
    if not folding:
        return []
    plain = set(names).difference(folding)
    seen: dict[str, str] = {}
    found = []
    for name in sorted(folding):
        key = _folded(name)
        other = key if key in plain else seen.get(key)
        if other is not None:
            found.append((other, name))
        seen.setdefault(key, name)
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def shown(path: str) -> str:
    """Fit for a log line and JSON: what cannot be printed, and bytes that are no text, are escaped."""
    text = "".join(map(_shown, path[:MAX_EXAMPLE_CHARS]))
    return text if len(path) <= MAX_EXAMPLE_CHARS else text + "…"


def _shown(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character.isprintable() and character != "\\":
        return character
    return character.encode("unicode_escape").decode("ascii")

"""Bugs, planted one at a time: the proof that the checks can fail. Each is found within so many seeds, whichever come first.

They are put in by name while a simulation runs and taken out after it; the product knows nothing of them. A few are in the simulated
disk or in the composition, where that is what the bug amounts to (a sync that is not made, a wrong setting).
"""

from __future__ import annotations

from dataclasses import dataclass

from accord.engine import deciding, read
from accord.engine.retention import Retention
from accord.engine.transfer import LocalBody
from accord.engine.update import Updater
from accord.store import index_file
from accord.store.debts import Ledger as DebtLedger
from accord.store.scrubbing import Scrubbing
from accord.testing.simulation import server
from accord.testing.simulation.bug_patches import (
    adopted_later,
    deletions_are_not_lacked,
    dispute_is_adopt,
    early_tombstones,
    first_wins,
    index_a_commit_behind,
    minted_anew,
    newest_wins,
    nobody_is_left_alone,
    nothing_is_owed,
    older_over_newer,
    same_incarnation,
    seen_is_ignored,
    silence_is_absence,
    spliced,
    unproven,
    unread,
    unsynced,
)
from accord.testing.simulation.disk import File, Folder
from accord.testing.simulation.planting import Planting, instead


@dataclass(frozen=True, slots=True)
class Bug:
    """`what` it does wrong. It is found within `within_seeds` seeds, from 1 on."""

    name: str
    what: str
    within_seeds: int
    plant: Planting
    moods: tuple[str, ...] = ()
    """Where it shows only under faults that are rare: of these, in every seed."""


BUGS: tuple[Bug, ...] = (
    Bug("file not synced", "content is not synced before it is promised", 10, unsynced(File)),
    Bug("folder not synced", "names are not synced before a write is acknowledged", 20, unsynced(Folder)),
    Bug("index not synced", "the index's last commit is lost in a crash", 20, index_a_commit_behind, ("crashes",)),
    Bug(
        "newest time decides",
        "of rivals the one with the newest modified time is shown, and nothing else",
        20,
        instead((read, "compare"), (deciding, "compare"), of=newest_wins),
    ),
    Bug(
        "silence is absence",
        "a server that does not answer counts as having nothing",
        20,
        instead((read, "compare"), (deciding, "compare"), of=silence_is_absence),
    ),
    Bug(
        "first rival wins",
        "rivals are merged, and the first is kept",
        20,
        instead((Updater, "_commit"), of=first_wins),
    ),
    Bug(
        "older over newer",
        "what another server has takes the place of what only this one knows",
        20,
        instead((Updater, "_commit"), of=older_over_newer),
    ),
    Bug(
        "tombstone dropped early",
        "a deletion is forgotten while some server has not heard of it",
        30,
        instead((Retention, "__init__"), of=early_tombstones),
        ("network", "crashes"),
    ),
    Bug(
        "debts lost on restart",
        "what others are owed is forgotten when a server is started again",
        20,
        instead((DebtLedger, "load"), of=nothing_is_owed),
    ),
    Bug(
        "counters used again",
        "an index that is begun anew makes events under the old name",
        100,
        instead((index_file, "secrets"), of=same_incarnation),
        ("oblivion", "loss"),
    ),
    Bug(
        "splice on failover",
        "a transfer goes on with bytes of another place, and nobody looks at the whole",
        100,
        spliced,
        ("broken lines", "network"),
    ),
    Bug(
        "own copy unproven",
        "this server's own copy is sent without a look at its digest",
        40,
        instead((LocalBody, "blocks"), of=lambda blocks: unproven),
        ("rot",),
    ),
    Bug(
        "context ignored",
        "a write takes the place of everything, whatever its writer has seen",
        20,
        instead((deciding, "covered"), of=seen_is_ignored),
    ),
    Bug(
        "acknowledged too early",
        "a server says that it has a change before that is durable",
        20,
        instead((Updater, "adopt"), of=adopted_later),
    ),
    Bug(
        "deletions not healed",
        "a server that has not heard of a deletion lacks nothing",
        20,
        instead((Updater, "_update"), of=deletions_are_not_lacked),
    ),
    Bug(
        "scrub trusts stat data",
        "a scrub reads nothing that stat data vouch for",
        20,
        instead((Scrubbing, "_at_path"), of=unread),
        ("rot",),
    ),
    Bug("strangers are believed", "what only a stranger has is spread", 30, nobody_is_left_alone, ("absence",)),
    Bug(
        "dispute adopts",
        "a change behind Accord's back takes the place of what was there, though it is to be a rival",
        20,
        instead((server, "open_directory_store"), of=dispute_is_adopt),
        ("hands",),
    ),
    Bug(
        "found content minted",
        "content that was there before is an event of the server that found it",
        20,
        minted_anew,
    ),
)

BY_NAME = {bug.name: bug for bug in BUGS}

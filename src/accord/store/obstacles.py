"""What it means for a path that it could not be opened or read: nothing of ours is there, or nobody can tell."""

from __future__ import annotations

import errno
import os

from accord.model.verdict import FOLDER, Answer, Unreachable
from accord.store.confinement import FILE_ABOVE, IRREGULAR, SYMLINK, NotAFile
from accord.store.records import Record, nothing_there, unreadable

_NEVER_OURS = {errno.ELOOP: SYMLINK, errno.EXDEV: SYMLINK, errno.ENOTDIR: FILE_ABOVE, errno.EISDIR: FOLDER}
_IRREGULAR_ERRNOS = frozenset({errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP})
UNREADABLE_ERRNOS = frozenset({errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.EREMOTEIO, errno.ENODATA, errno.EILSEQ})


def answer_to(error: OSError | NotAFile, record: Record | None, now_ns: int) -> Answer:
    """What a path that could not be opened or read amounts to. Says nothing of what a link points to."""
    if isinstance(error, NotAFile):
        return nothing_there(record, now_ns, error.obstacle)
    code = error.errno or 0
    if code in (errno.ENOENT, errno.ENAMETOOLONG):
        return nothing_there(record, now_ns)
    if code in _NEVER_OURS:
        return nothing_there(record, now_ns, _NEVER_OURS[code])
    if code in _IRREGULAR_ERRNOS:
        return nothing_there(record, now_ns, IRREGULAR)
    if code in (errno.EACCES, errno.EPERM):
        return Unreachable("this server may not read its copy")
    if code in UNREADABLE_ERRNOS:
        return unreadable(record, f"the disk cannot read it ({os.strerror(code)})")
    return Unreachable(f"this server cannot open its copy ({os.strerror(code)})")

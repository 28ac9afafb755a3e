"""What other hands do to the files of a simulated disk, and what rot does: the server of that disk is told nothing.

Who does it, when, and what it means for what may be found later is left to `hands`. All of it is durable at once.
"""

from __future__ import annotations

from accord.testing.simulation.disk import Disk, File, Folder, Inode, Slot


def inode_at(disk: Disk, path: str) -> Inode | None:
    inode: Inode | None = disk.root
    for name in path.split("/"):
        inode = inode.entries.get(name) if isinstance(inode, Folder) else None
    return inode


def file_at(disk: Disk, path: str) -> File | None:
    inode = inode_at(disk, path)
    return inode if isinstance(inode, File) else None


def make_folder(disk: Disk, path: str) -> bool:
    """An empty one, and what is missing above it. False where a file is in the way."""
    made = _folder(disk, path)
    disk.sync_all()
    return made is not None


def put(disk: Disk, path: str, content: bytes, *, in_place: bool = False, modified_ns: int | None = None) -> bool:
    """A new file in the place of what is there, or new content of the file that is there. False where a file is in the way of a folder,
    or a folder of the file."""
    above, _, name = path.rpartition("/")
    folder = _folder(disk, above)
    if folder is None or isinstance(folder.entries.get(name), Folder):
        return False
    there = folder.entries.get(name)
    if isinstance(there, File) and in_place:
        disk.truncate(there, 0)
        file = there
    else:
        file = disk.new_file(folder, name)
    file.content = bytearray(content)
    file.is_unreadable = False
    disk.stamp(file)
    if modified_ns is not None:
        file.mtime_ns = modified_ns
    disk.sync_all()
    return True


def remove(disk: Disk, path: str) -> None:
    above, _, name = path.rpartition("/")
    folder = inode_at(disk, above) if above else disk.root
    assert isinstance(folder, Folder)
    disk.rename_slots((Slot(folder, name, None),))
    disk.sync_all()


def touch(disk: Disk, path: str) -> None:
    """The same content, newly dated."""
    file = file_at(disk, path)
    assert file is not None
    file.mtime_ns = file.ctime_ns = disk.now_ns()
    disk.soil(file)
    disk.sync_all()


def flip(file: File, at: int, bit: int) -> None:
    """One bit changes where the content is kept; no stat data tell of it."""
    file.content[at] ^= 1 << bit
    if file.synced is not None and len(file.synced) > at:
        spoilt = bytearray(file.synced)
        spoilt[at] ^= 1 << bit
        file.synced = bytes(spoilt)
    file.is_rotten = True


def _folder(disk: Disk, path: str) -> Folder | None:
    """What is missing of it is made. None where a file is in the way."""
    folder = disk.root
    for name in path.split("/") if path else ():
        below = folder.entries.get(name)
        if below is None:
            below = disk.new_folder(folder, name)
        if not isinstance(below, Folder):
            return None
        folder = below
    return folder

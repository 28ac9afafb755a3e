"""The private folder at the root of a store: made when missing, its parts opened without following links, and held by one server."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from accord.errors import StoreFailed
from accord.model.names import PRIVATE_FOLDER
from accord.store.confinement import FOLDER_FLAGS
from accord.store.index_file import lock_store

_MODE = 0o700


class PrivateFolder:
    """Raises `ConfigError` if another server holds it, `StoreFailed` if it cannot be made. `is_new` tells a first start."""

    def __init__(self, root: Path, root_fd: int) -> None:
        self.path = root / PRIVATE_FOLDER
        self._open: list[int] = []
        try:
            self.is_new = not self.path.exists()
            private_fd = self._folder(root_fd, PRIVATE_FOLDER)
            self.lock_fd = lock_store(self.path)
            self._open.append(self.lock_fd)
            self.staging_fd = self._folder(private_fd, "staging")
            self.quarantine_fd = self._folder(private_fd, "quarantine")
            self.versions_fd = self._folder(private_fd, "versions")
            os.fsync(private_fd)
            os.fsync(root_fd)
        except OSError as error:
            self.close()
            raise StoreFailed(f"The folder {self.path} cannot be made or used: {error.strerror}.") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets the store go, too."""
        while self._open:
            os.close(self._open.pop())

    def _folder(self, parent_fd: int, name: str) -> int:
        with suppress(FileExistsError):
            os.mkdir(name, _MODE, dir_fd=parent_fd)
        fd = os.open(name, FOLDER_FLAGS, dir_fd=parent_fd)
        self._open.append(fd)
        return fd

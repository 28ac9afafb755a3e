"""A copy of a sample folder to work on, removed when the server ends."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch_copy(folder: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=f"accord-{folder}-") as scratch:
        root = Path(scratch) / folder
        shutil.copytree(Path(__file__).parent / folder, root)
        yield root

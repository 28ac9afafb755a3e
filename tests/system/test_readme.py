"""The session in the README is what these files and commands show, word for word."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.system.harness import Cluster, wait_until

ROOT = Path(__file__).parents[2]
ACCORD = shlex.quote(str(Path(sys.executable).with_name("accord")))


def session() -> list[tuple[str, str]]:
    """Each command line of the session, and what is printed below it."""
    text = (ROOT / "README.md").read_text().partition("## A session")[2].partition("\n## ")[0]
    lines = [line[4:] for line in text.split("\n") if line.startswith("    ") or not line]
    pieces = re.split(r"^\$ (.+)$", "\n".join(lines), flags=re.MULTILINE)
    return [(command, told.strip("\n")) for command, told in zip(pieces[1::2], pieces[2::2], strict=True)]


def test_the_session(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(2)
    for server in cluster.servers:
        shutil.copytree(ROOT / "examples" / "classic" / f"{server.name}_files", server.root, dirs_exist_ok=True)
    (touch, _), *commands = session()
    subprocess.run(touch, shell=True, cwd=cluster[0].root.parent, check=True)
    cluster.start()
    for server in cluster.servers:
        wait_until(server.indexed, "indexed")
    cluster[0].gets("file3.txt", cluster[1].content("file3.txt"))
    url = f"http://127.0.0.1:{cluster[0].port}"
    for command, told in commands:
        done = subprocess.run(
            re.sub(r"(?<![^ ])accord ", f"{ACCORD} ", command),
            shell=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "ACCORD_SERVERS": url},
            timeout=60,
        )
        assert done.stdout.strip("\n") == told, command

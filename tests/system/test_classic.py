"""The classic three terminals, as three real processes: twice, as a second run must show the same."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.system.harness import request, wait_until

FOLDER = Path(__file__).parents[2] / "examples" / "classic"
PORTS = {"server1": 65001, "server2": 65002}
SAMPLES = {
    "server1_files": {"hello.txt": "This is a test\n", "file2.txt": "Diff file test\n"},
    "server2_files": {
        "hello.txt": "This is a test\n",
        "file2.txt": "This is a diff file test\n",
        "file3.txt": "new file which does not exist on server 1\n",
    },
}


@contextmanager
def server(name: str, folder: Path) -> Iterator[None]:
    log = folder / f"{name}.log"
    with log.open("wb") as opened:
        process = subprocess.Popen(
            [sys.executable, f"{name}.py"],
            cwd=FOLDER,
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=opened,
            stderr=opened,
        )

    def is_up() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return request(PORTS[name], "/health").status == 200
        except (OSError, http.client.HTTPException):
            return False

    try:
        wait_until(is_up, f"{name} answers")
        yield
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def client(path: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "client.py", path], cwd=FOLDER, capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stdout


def checked_in() -> dict[str, dict[str, str]]:
    return {folder: {file.name: file.read_text() for file in (FOLDER / folder).iterdir()} for folder in sorted(SAMPLES)}


@pytest.fixture
def ports_are_free() -> None:
    for port in PORTS.values():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                pytest.fail(f"port {port}, which the classic example has, is in use on this machine")


@pytest.mark.xdist_group("classic ports")
@pytest.mark.usefixtures("ports_are_free")
def test_the_classic_session_shows_the_same_twice_and_leaves_the_samples_alone(tmp_path: Path) -> None:
    for _ in range(2):
        with ExitStack() as servers:
            servers.enter_context(server("server2", tmp_path))
            servers.enter_context(server("server1", tmp_path))
            for port, peer in ((65001, "server2"), (65002, "server1")):
                wait_until(
                    lambda port=port: request(port, "/ready").json()["peers"][0]["state"] == "up", f"{peer} is seen"
                )
            assert client("hello.txt") == (0, "This is a test\n")
            code, shown = client("file2.txt")
            assert code == 6
            assert "--- server1 ---\nDiff file test\n" in shown
            assert "--- server2 ---\nThis is a diff file test\n" in shown
            assert client("file3.txt") == (0, "new file which does not exist on server 1\n")
            assert client("nothing.txt") == (5, "File Not Found\n")
        assert checked_in() == SAMPLES
        assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith("accord-")] == []


def test_wrong_usage_is_exit_2() -> None:
    done = subprocess.run([sys.executable, "client.py"], cwd=FOLDER, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "usage: python client.py NAME\n"

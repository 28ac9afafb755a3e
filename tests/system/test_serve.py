"""How a server starts, refuses to start, and stops; and that the demonstration comes out right."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from accord.addresses import ServerSpec
from accord.config import Flags, load_config
from accord.errors import CannotStart, ConfigError
from accord.model.names import ServerName
from accord.serving import start_server
from tests.system.harness import Cluster, Server, connected, free_ports, request_bytes, wait_until

ACCORD = [sys.executable, "-m", "accord"]


def ended(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ACCORD, "serve", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_a_root_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    done = ended("gone", "--name", "a", "--listen", "127.0.0.1:0", cwd=tmp_path)
    assert done.returncode == 1
    assert "gone" in done.stderr
    assert "mkdir -p" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "gone").exists()


def test_a_root_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = ended("file", "--name", "a", "--listen", "127.0.0.1:0", cwd=tmp_path)
    assert done.returncode == 1
    assert "is no directory" in done.stderr


def test_a_home_that_nobody_has_is_told(tmp_path: Path) -> None:
    serving = ["serve", "~nosuchuser/files", "--name", "a", "--listen", "127.0.0.1:0"]
    for words in (serving, ["config", "new-key", "~nosuchuser/key"]):
        done = subprocess.run([*ACCORD, *words], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 2
        assert "there is no home directory for '~nosuchuser'" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = ended("files", "--name", "a", "--listen", f"127.0.0.1:{port}", cwd=tmp_path)
    assert done.returncode == 1
    assert f"Port {port}" in done.stderr
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_listening_for_other_machines_is_refused(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    done = ended("files", "--name", "a", "--listen", "0.0.0.0:0", cwd=tmp_path)
    assert done.returncode == 2
    assert "SSH tunnel" in done.stderr


@pytest.mark.parametrize("names", [("server1",), ("server2", "server2")])
def test_a_peer_is_another_server(tmp_path: Path, names: tuple[str, ...]) -> None:
    (tmp_path / "files").mkdir()
    peers = [f"--peer={name}=http://127.0.0.1:{port}" for name, port in zip(names, free_ports(2), strict=False)]
    done = ended("files", "--name", "server1", "--listen", "127.0.0.1:0", *peers, cwd=tmp_path)
    assert done.returncode == 2
    assert names[0] in done.stderr


def test_a_directory_has_one_server(pair: Cluster, tmp_path: Path) -> None:
    done = ended(str(pair[0].root), "--name", "other", "--listen", "127.0.0.1:0", cwd=tmp_path)
    assert done.returncode != 0
    assert str(pair[0].root) in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_in_order(pair: Cluster, number: signal.Signals) -> None:
    process = pair[0].process
    assert process is not None
    process.send_signal(number)
    assert process.wait(20) == 0
    events = [json.loads(line)["event"] for line in pair[0].log.read_text().splitlines()]
    assert events.index("ready") < events.index("stopping") < events.index("stopped")


def test_a_transfer_under_way_is_ended_before_the_server_stops(pair: Cluster) -> None:
    content = os.urandom(24 * 1024 * 1024)
    for server in pair.servers:
        server.put("large.bin", content)
    process = pair[0].process
    assert process is not None
    with connected(pair[0].port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        connection.sendall(request_bytes("/files/large.bin", headers={"Connection": "close"}))
        received = bytearray(connection.recv(1000))
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in pair[0].log.read_text(), "the server is stopping")
        while block := connection.recv(1024 * 1024):
            received += block
    assert received.partition(b"\r\n\r\n")[2] == content
    assert process.wait(20) == 0


def test_a_client_that_does_not_read_cannot_hold_the_server_up(pair: Cluster) -> None:
    for server in pair.servers:
        server.put("large.bin", os.urandom(24 * 1024 * 1024))
    process = pair[0].process
    assert process is not None
    with connected(pair[0].port) as connection:
        connection.sendall(request_bytes("/files/large.bin"))
        assert connection.recv(1000)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_the_key_is_not_in_the_log(pair: Cluster) -> None:
    key = (pair[0].config.parent / "cluster.key").read_text().strip()
    assert key not in pair[0].log.read_text() + pair[1].log.read_text()


def one_server(root: Path) -> Flags:
    return Flags(servers=(ServerSpec(ServerName("alone"), "", root, "127.0.0.1:0"),))


async def test_a_server_inside_a_program_answers_and_ends_with_its_context(tmp_path: Path) -> None:
    config = load_config(None, one_server(tmp_path), {})
    async with start_server(config, "alone") as server:
        assert server.port
        again = load_config(
            None, Flags(servers=(ServerSpec(ServerName("b"), "", tmp_path, f"127.0.0.1:{server.port}"),)), {}
        )
        with pytest.raises((CannotStart, ConfigError)):
            async with start_server(again, "b"):
                pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    async with start_server(config, "alone"):
        pass


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A demonstration that stays up, with its temporary folder in ours."""
    process = subprocess.Popen(
        [*ACCORD, "demo"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    if process.poll() is None:
        process.terminate()
        process.wait(30)
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_demonstration_ends_its_servers_and_removes_its_files(
    demo: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    assert demo.stdout is not None
    ports = [
        int(line.split("127.0.0.1:")[1].split()[0])
        for line, _ in zip(demo.stdout, range(3), strict=False)
        if "127.0.0.1:" in line
    ]
    assert len(ports) == 2
    demo.send_signal(number)
    shown = demo.stdout.read()
    assert demo.wait(30) in (0, 128 + number), shown
    assert "Traceback" not in shown
    for port in ports:
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1)
    assert list(tmp_path.iterdir()) == []


def test_the_tour_comes_out_right(tmp_path: Path) -> None:
    done = subprocess.run(
        [*ACCORD, "demo", "--once"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Each row came out right." in done.stdout
    assert "✗" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_flags_alone_make_a_cluster(tmp_path: Path) -> None:
    ports = free_ports(2)
    servers = []
    for number in (1, 2):
        root = tmp_path / f"files{number}"
        root.mkdir()
        servers.append(Server(f"server{number}", root, ports[number - 1], Path(), tmp_path / f"{number}.log"))
    environ = {**os.environ, "HOME": str(tmp_path / "home"), "XDG_STATE_HOME": ""}
    try:
        for me, peer in (servers, servers[::-1]):
            flags = [
                "--name",
                me.name,
                "--listen",
                f"127.0.0.1:{me.port}",
                "--peer",
                f"{peer.name}=http://127.0.0.1:{peer.port}",
            ]
            with me.log.open("wb") as log:
                me.process = subprocess.Popen(
                    [*ACCORD, "serve", str(me.root), *flags],
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        for me, peer in (servers, servers[::-1]):
            wait_until(me.is_up, f"{me.name} answers")
            wait_until(lambda me=me, peer=peer: me.sees(peer.name), f"{me.name} sees {peer.name}")
        servers[1].put("a.txt", b"there")
        assert servers[0].get("a.txt").body == b"there"
    finally:
        for server in servers:
            server.kill()

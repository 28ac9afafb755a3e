"""The demonstration as a visitor has it: after the tour the servers stay up, with the default for what is edited behind their back."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import accord
from accord.model.verdict import Kind
from tests.system.harness import wait_until


def test_what_a_visitor_edits_becomes_a_rival(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "accord", "demo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"TMPDIR": str(tmp_path)}) as demo:
        assert demo.stdout is not None
        told = ""
        try:
            for line in demo.stdout:
                told += line
                if "Ctrl-C ends" in line:
                    break
            assert "Each row came out right" in told
            (_, root), (other, _) = re.findall(r"server[12]: (\S+)/list/ +(\S+)", told)
            with (Path(root) / "file3.txt").open("a") as edited:
                edited.write("edited\n")
            with accord.Client(other) as client:
                wait_until(lambda: client.stat("file3.txt").verdict is Kind.DIVERGED, "the edit is a rival")
        finally:
            demo.send_signal(signal.SIGTERM)
            demo.stdout.read()
    assert list(tmp_path.iterdir()) == []

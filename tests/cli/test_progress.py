"""Progress: a bar where somebody looks at a terminal, results beside it, nothing of it anywhere else."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from accord.cli.bar import RATE_S, DrawnBar
from tests.cli.conftest import Run
from tests.cli.terminal import terminal
from tests.client.scripted import Fault, Handler, Script, Serve
from tests.client.writable import Writable, WritingHandler

LONG = bytes(range(256)) * 40_000
ERASED = "\r\x1b[2K"


def filled(script: Script) -> None:
    script.put("p/a.txt", server1=b"a", server2=b"a")
    script.put("p/long.bin", server1=LONG, server2=LONG)
    script.faults = [None, Fault(wait_at=9_000_000)]


def test_a_tree_has_one_bar_and_its_results_go_to_stdout(serve: Serve, tmp_path: Path) -> None:
    script, url = serve()
    filled(script)
    with terminal("get", "-r", "p", "here", "-j", "1", url=url, cwd=tmp_path) as screen:
        screen.reads(r"p/long\.bin .* 1 of 2 files  \d\.\d MiB of 9\.8 MiB")
        script.go_on.set()
        code, told = screen.ends()
    assert code == 0
    assert told == (
        "here/a.txt  1 B  identical on server1, server2\nhere/long.bin  9.8 MiB  identical on server1, server2\n"
    )
    assert screen.screen() == ["accord: 2 saved"]
    assert screen.written.endswith(ERASED)


def test_lines_and_the_bar_share_a_terminal(serve: Serve, tmp_path: Path) -> None:
    _, url = serve(Writable())
    (tmp_path / "t").mkdir()
    for number in range(60):
        (tmp_path / "t" / f"{number:02}.txt").write_bytes(b"content")
    with terminal("put", "-r", "t", "-j", "1", url=url, cwd=tmp_path, with_stdout=True) as screen:
        screen.reads(r"60 files")
        code, _ = screen.ends()
    assert code == 0
    lines = [f"{number:02}.txt  7 B  stored on server1, server2" for number in range(60)]
    assert screen.screen() == [*lines, "accord: 60 stored"]
    assert " of 60 files" in screen.written
    paths = [f"{number:02}.txt" for number in range(60)]
    with terminal("rm", *paths, url=url, cwd=tmp_path, with_stdout=True) as screen:
        assert screen.ends()[0] == 0
    assert " of 60 files" in screen.written
    assert screen.screen() == [*(f"{path}  deleted on server1, server2" for path in paths), "accord: 60 deleted"]


def test_choosing_among_many_rivals_has_a_bar(serve: Serve, tmp_path: Path) -> None:
    script, url = serve(Writable())
    for name in "abc":
        script.put(name, server1=b"one", server2=b"two")
    with terminal("resolve", "*", "--keep", "server1", url=url, cwd=tmp_path) as screen:
        code, told = screen.ends()
    assert (code, len(told.splitlines())) == (0, 3)
    assert " of 3 files" in screen.written
    assert screen.screen() == []


def test_a_comparison_has_a_bar(serve: Serve, tmp_path: Path) -> None:
    for side in ("left", "right"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "long").write_bytes(LONG)
        (tmp_path / side / "short").write_bytes(side.encode()[:4])
    with terminal("check", "left", "right", url="", cwd=tmp_path) as screen:
        assert screen.ends() == (6, "* short\n")
    assert "4 of 4 files" in screen.written
    assert screen.screen() == ["accord: 1 different, 1 the same"]


@pytest.mark.parametrize("words", [["get", "-r", "p", "here"], ["get", "p/long.bin", "p/a.txt", "."]])
def test_nothing_of_it_in_a_pipe_or_beside_json(accord: Run, serve: Serve, tmp_path: Path, words: list[str]) -> None:
    script, url = serve()
    filled(script)
    script.faults = []
    done = accord(*words, url=url)
    assert done.returncode == 0
    assert done.stderr in ("", "accord: 2 saved\n")
    for path in ("p", "here"):
        (tmp_path / path).mkdir(exist_ok=True)
    with terminal(*words, "--json", url=url, cwd=tmp_path) as screen:
        assert screen.ends()[0] == 0
    assert screen.written == ""


@pytest.mark.parametrize("words", [["get", "-r", "p", "here"], ["get", "p/long.bin", "here"]])
def test_ctrl_c_leaves_the_terminal_as_it_was(serve: Serve, tmp_path: Path, words: list[str]) -> None:
    script, url = serve()
    filled(script)
    script.faults = [None] * (words[1] == "-r") + [Fault(wait_at=9_000_000)]
    with terminal(*words, url=url, cwd=tmp_path) as screen:
        screen.reads(r"long\.bin .*[8-9]\.\d.*MiB")
        screen.process.send_signal(signal.SIGINT)
        assert screen.ends()[0] == 130
    *above, last = screen.screen()
    assert last == "accord: interrupted"
    assert not [line for line in above if " of 2 files" in line], "the bar is gone"
    assert "Traceback" not in screen.written


class SlowHandler(WritingHandler):
    def do_GET(self) -> None:
        self.script.go_on.wait(30)
        super().do_GET()


class Slow(Writable):
    """Answers once it may."""

    @property
    def handler(self) -> type[Handler]:
        return SlowHandler


def test_a_long_wait_is_shown_and_a_pipe_has_nothing_of_it(accord: Run, serve: Serve, tmp_path: Path) -> None:
    script, url = serve(Slow())
    script.happened("x", b"one")
    with terminal("log", "x", url=url, cwd=tmp_path) as screen:
        screen.reads("asking about x")
        script.go_on.set()
        code, told = screen.ends()
    assert code == 0
    assert "put" in told
    assert screen.screen() == []
    assert accord("log", "x", url=url).stderr == ""


class Tube:
    """A terminal's end that remembers."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, text: str) -> int:
        self.written.append(text)
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


def test_the_numbers_of_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is known so far; the rate is that of the last seconds; a new beginning does not count back."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")
    now_s = 0.0
    tube = Tube()
    bar = DrawnBar(tube, lambda: now_s)  # type: ignore[arg-type]  # all of it that is used
    bar.known(4096)
    now_s += 1
    bar.known(4096)
    assert "0 of 2+ files  0 B of 8.0 KiB+" in tube.written[-1]
    with bar.file("odd\x1b[2Jname", 4096) as tell:
        assert tell is not None
        tell(1024, 4096)
        now_s += 1
        tell(3072, 4096)
        assert "odd\\x1b[2Jname" in tube.written[-1]
        assert "0 of 2+ files  3.0 KiB of 8.0 KiB+  1.5 KiB/s" in tube.written[-1]
        drawn = len(tube.written)
        tell(3073, 4096)
        assert len(tube.written) == drawn, "it is not drawn for every block"
        now_s += 1
        tell(0, 4096)
        assert "0 B of 8.0 KiB+  1.0 KiB/s" in tube.written[-1]
    now_s += RATE_S + 1
    bar.all_known()
    assert "1 of 2 files  4.0 KiB of 8.0 KiB" in tube.written[-1]
    assert "/s" not in tube.written[-1]
    with bar.beside():
        assert tube.written[-1] == ERASED
    assert "1 of 2 files" in tube.written[-1]
    bar.close()
    now_s += 1
    drawn = len(tube.written)
    bar.known(1)
    assert len(tube.written) == drawn

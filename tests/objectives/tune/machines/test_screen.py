"""Lines on a real terminal, as its screen looks after them; and in a file."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

from commands import ROOT
import pytest


CODE = """
from objectives.tune.machines.screen import Screen
screen = Screen()
print(screen.is_drawn)
screen.show(["worker 0: a", "worker 1: " + 50 * "x"])
screen.write("trial 1")
screen.show(["worker 0: b"])
screen.write("trial 2")
screen.show(["worker 0: c", "worker 1: c", "worker 2: c"])
"""


def shown(code: str, **environment: str) -> list[str]:
    """What a terminal of 40 columns shows in the end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**inherited, **environment},
        stdout=theirs,
        check=True,
    )
    os.close(theirs)
    written = b""
    try:
        while more := os.read(ours, 4096):
            written += more
    except OSError:  # Linux's word for: the other end is closed, and all is read
        pass
    os.close(ours)
    return drawn(written.decode())


def drawn(written: str) -> list[str]:
    """As ECMA-48 has it: up so many lines, and all from there on is gone."""
    lines: list[str] = []
    for line in written.split("\r\n"):
        *ups, text = line.split("\x1b[J")
        for up in ups:
            del lines[len(lines) - int(up.removeprefix("\x1b[").removesuffix("A")) :]
        assert "\x1b" not in text and len(text) < 40
        lines.append(text)
    assert lines.pop() == "", "the cursor is below"
    return lines


def test_lines_stay_and_those_beneath_are_drawn_anew() -> None:
    last = ["worker 0: c", "worker 1: c", "worker 2: c"]
    assert shown(CODE, TERM="xterm") == ["True", "trial 1", "trial 2", *last]


def test_what_is_too_long_is_cut_off() -> None:
    code = CODE[: CODE.index('screen.write("trial 1")')]
    assert shown(code, TERM="xterm") == ["True", "worker 0: a", f"worker 1: {29 * 'x'}"]


def test_at_the_end_only_what_stays_is_there() -> None:
    assert shown(f"{CODE}\nscreen.show([])", TERM="xterm") == ["True", "trial 1", "trial 2"]


def test_a_terminal_that_cannot_do_it_is_none() -> None:
    assert shown("\n".join(CODE.splitlines()[:4]), TERM="dumb") == ["False"]


def test_a_file_gets_plain_lines(capfd: pytest.CaptureFixture[str]) -> None:
    code = "\n".join(CODE.splitlines()[:4]) + '\nscreen.write("trial 1")'
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert capfd.readouterr().out == "False\ntrial 1\n"

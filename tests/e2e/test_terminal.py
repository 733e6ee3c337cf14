"""What a run and `watch` write to a real terminal, to one without colour, and to a log."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from small_runs import COMMAND, LIMIT_S, asked, await_that, going, said, write_plan
from watched import Folder

pytestmark = [pytest.mark.e2e, pytest.mark.beside]

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ALLOWED = re.compile(r"\x1b\[(?:\d*A|2K|\?25[lh]|[0-9;]*m)")
"""Up, erase a line, hide and show the cursor, styles: what a live block needs, and what a terminal of the eighties knows."""


class Screen:
    """A pseudo-terminal of 80 columns, and all that was written to it."""

    def __init__(self) -> None:
        self._reads, self.writes = pty.openpty()
        fcntl.ioctl(self.writes, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._parts: list[bytes] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with suppress(OSError):  # the other end is closed
            while data := os.read(self._reads, 1 << 16):
                self._parts.append(data)

    @property
    def text(self) -> str:
        return b"".join(self._parts).decode().replace("\r\n", "\n")

    def close(self) -> None:
        os.close(self.writes)
        self._thread.join(5)
        os.close(self._reads)


@contextmanager
def on_a_terminal(here: Path, *arguments: str, **variables: str) -> Iterator[tuple[Screen, subprocess.Popen[bytes]]]:
    screen = Screen()
    environment = {
        name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES", "TERM")
    }
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=here, stdin=subprocess.DEVNULL, stdout=screen.writes, stderr=screen.writes,
        env={**environment, "TERM": "xterm-256color", **variables},
    )  # fmt: skip
    try:
        yield screen, process
    finally:
        process.kill()
        process.wait()
        screen.close()


def fits(text: str) -> None:
    """No line is longer than 80 columns, except for paths and commands, which are never broken."""
    for line in SEQUENCE.sub("", text).replace("\r", "\n").split("\n"):
        assert len(line) <= 80 or re.match(r" *(?:/|\S+: |openagentperf |run folder |asking )", line), line


def test_a_run_on_a_terminal_and_watch_beside_it_in_a_log_and_on_a_terminal(tmp_path: Path):
    write_plan(
        tmp_path,
        track="exact",
        start=2,
        limit=2,
        search_turns=12,
        search_measure_s=4,
        measure_s=4,
        certify_phases=3,
        limit_s=20,
    )
    with on_a_terminal(tmp_path, "run", "plan.toml") as (screen, run):
        (folder,) = await_that(lambda: list(tmp_path.glob("runs/2*")), "the run folder")
        await_that((folder / "plan.toml").exists, "its plan")
        with (
            going(tmp_path, "watch", str(folder)) as log,
            on_a_terminal(tmp_path, "watch", str(folder)) as (beside, watch),
        ):
            assert run.wait(LIMIT_S) == 0
            assert log.wait(LIMIT_S) == 0
            assert watch.wait(LIMIT_S) == 0
            seen = beside.text
        shown = screen.text
    for text in (shown, seen):
        fits(text)
        assert set(SEQUENCE.findall(text)) == set(ALLOWED.findall(text)), "nothing but what a live block needs"
        assert not CONTROL.search(SEQUENCE.sub("", text).replace("\r", ""))
        assert re.search(
            r"phase [0-3], (search|certify): measuring +0:\d\d gone, phase 0:0\d left, run ~0:\d\d left", text
        )
        assert re.search(r"agents   2/2 active +turns +\d+/\d+ measured +errors 0", text)
        assert re.search(r"TTFT P95 0\.\d+ s +speed P25 \d+ tok/s +in flight \d", text)
        assert re.search(r"own: passes at [-2], no failure yet", text)
        assert re.search(r"\n  own +>=2  at least +-", text), "the summary comes at the end"
        assert "phase 0" not in text[text.rindex("How many agents at once?") :], "below the last block"
    told = said(tmp_path)
    assert not CONTROL.search(told)
    assert re.search(
        r"^phase [0-3] (search|certify): 2 agents, \d+ turns, errors 0, TTFT P95 [\d.]+ s, speed P25 \d+ tok/s; own: ",
        told,
        re.MULTILINE,
    )


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_may_not_be_painted_gets_plain_lines(tmp_path: Path, name: str, value: str):
    write_plan(tmp_path, track="exact", limit=1, certify_phases=1)
    with on_a_terminal(tmp_path, "run", "plan.toml", **{name: value}) as (screen, run):
        assert run.wait(LIMIT_S) == 0
        text = screen.text
    assert not CONTROL.search(text)
    assert "phase 0 search: 1 agent, " in text
    fits(text)


def test_the_cursor_comes_back_when_a_run_is_interrupted(tmp_path: Path):
    write_plan(tmp_path, track="exact", start=2, limit=2, search_turns=60)
    with on_a_terminal(tmp_path, "run", "plan.toml") as (screen, run):
        await_that(lambda: "measuring" in screen.text, "the measure window")
        run.send_signal(signal.SIGINT)
        assert run.wait(LIMIT_S) == 130
        text = screen.text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert text.rstrip().split("\n")[-1].startswith("interrupted: the run so far is in ") or "goes on" in text[-400:]


def test_watch_of_a_broken_run_says_how_to_go_on_and_of_no_run_what_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = Folder(tmp_path / "one")
    folder.begin(0, 100.0).close()
    folder.break_off(0, "the disk is full\x1b[31m")
    ended = asked(capsys, "watch", str(folder.path))
    assert ended.status == 130
    assert (
        ended.err.splitlines()[-1]
        == f"{folder.path}: broken off: the disk is full [31m: openagentperf run --resume {folder.path} goes on"
    )
    (tmp_path / "none").mkdir()
    ended = asked(capsys, "watch", str(tmp_path / "none"))
    assert (ended.status, "is no run folder" in ended.sentence) == (2, True)


def test_watch_of_a_killed_run_goes_on_until_it_is_told_to_stop(tmp_path: Path):
    folder = Folder(tmp_path / "one")
    folder.begin(0, 100.0).close()
    (folder.path / "run.json").write_text("\x1b[31m")
    with going(tmp_path, "watch", "one") as process:
        await_that(lambda: "phase 0 search: 4 agents" in said(tmp_path), "the open phase")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 130
    lines = said(tmp_path).splitlines()
    assert lines[-1] == "interrupted: the run itself is not touched"
    assert [line.partition(":")[0] for line in lines].count("warning") == 1, "said once"

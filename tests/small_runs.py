"""Whole runs that take seconds, for the end-to-end tests: a corpus of a few short turns, a plan, the command line as a process."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import polars as pl
import pytest

from openagentperf import bench, planfile
from openagentperf.cli.main import main
from openagentperf.corpusjobs.store import SET_NAME, write_set
from openagentperf.plan import Plan
from openagentperf.records.trajectory import Trajectory
from openagentperf.sim.spawn import spawned
from openagentperf.units import NS_PER_MS
from trajectories import session

LIMIT_S = 60.0
"""Nothing here takes longer; what does has hung, which is what some of these tests are about."""
PATIENCE_S = 20.0
"""For what another process is about to do."""
QUICK = ("--ttft-ms", "5", "--interval-ms", "2", "--tokens", "12")
"""Of sim.faulty: a turn in 30 ms."""


# -- what is replayed --------------------------------------------------------------------------------------------------------


def trajectories(count: int = 6, turns: int = 5, delay_ms: int = 30, words: int = 160) -> list[Trajectory]:
    """Short sessions: `words` words of task, so that a prompt has a few blocks of 64 tokens to be cached."""
    return [
        _timed(session(f"s{k}", turns, text="why does it fail " * (words // 4)), delay_ms, words) for k in range(count)
    ]


def _timed(trajectory: Trajectory, delay_ms: int, words: int) -> Trajectory:
    replace = msgspec.structs.replace
    turns = [
        replace(t, tool_delay_ns=delay_ms * NS_PER_MS, input_tokens=t.input_tokens + 5 * words // 4)
        for t in trajectory.turns
    ]
    return replace(trajectory, turns=tuple(turns))


def write_corpus(folder: Path, made: list[Trajectory] | None = None) -> Path:
    """A native set under `folder`/set; returns its file."""
    write_set(folder / "set", trajectories() if made is None else made)
    return folder / "set" / SET_NAME


# -- what is asked -----------------------------------------------------------------------------------------------------------


def write_plan(
    folder: Path, *, output_speed: float = 1, ttft_s: float = 30, limit: int = 2, start: int = 1, track: str = "natural",
    workload: str = "", search: str = "", **rigor: float,
) -> Path:  # fmt: skip
    """`plan.toml` beside a corpus: a tier that no sane server misses, phases of a second or two."""
    if not (folder / "set").exists():
        write_corpus(folder)
    wish: dict[str, float] = {
        "settle_s": 0.2, "search_measure_s": 0.5, "measure_s": 0.5, "search_turns": 5, "certify_turns": 9,
        "limit_s": 8, "client_error": 1,
    }  # fmt: skip
    lines = [f"{name} = {value}" for name, value in (wish | rigor).items()]
    path = folder / "plan.toml"
    path.write_text(
        f"""
seed = 5
[[tiers.tier]]
name = "own"
output_speed = {output_speed}
ttft_s = {ttft_s}
[workload]
corpus = "set"
track = "{track}"
max_output_tokens = 16
{workload}
[search]
start = {start}
limit = {limit}
{search}
[rigor]
preset = "quick"
"""
        + "\n".join(lines)
        + "\n"
    )
    return path


def plan(folder: Path, url: str, **wish: Any) -> Plan:
    """The same as an object."""
    return planfile.load(write_plan(folder, **wish), planfile.Overrides(endpoint=url))


def faulty(mode: str, *args: str) -> Any:
    """A server with a fault, as a context manager that yields its URL."""
    return spawned("openagentperf.sim.faulty", "--mode", mode, *QUICK, *args)


@functools.cache
def after_preflight(track: str = "natural") -> tuple[str, str]:
    """Options of sim.faulty that spare a preflight and the first turn of the load's ramp.

    Counted, not known: how many requests a preflight takes is its own business, and one fewer here would fail it.
    """
    with tempfile.TemporaryDirectory() as name, faulty("ok") as url:
        folder = Path(name)
        assert all(check.ok for check in bench.preflight_report(plan(folder, url, track=track), folder / "runs"))
        connection = HTTPConnection(url.split("/")[2])
        connection.request("GET", "/chats")
        asked = int(connection.getresponse().read())
        connection.close()
    return "--after", str(asked + 1)


# -- the command line as a user's process ------------------------------------------------------------------------------------


class Ended(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The error: the one line of stderr that is about it, which is the last."""
        lines = self.err.splitlines()
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:], self.err
        return lines[-1].removeprefix("error: ")

    @property
    def folder(self) -> str:
        """Of the run, as it was announced on the way."""
        return next(line for line in self.err.splitlines() if line.startswith("run folder ")).removeprefix(
            "run folder "
        )


COMMAND = (sys.executable, "-m", "openagentperf")


def _quiet(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """A run without its report, which takes longer than these runs; tests/e2e/test_drawn.py has one with."""
    return (*arguments, "--no-report") if arguments[:1] == ("run",) else arguments


def call(folder: Path, *arguments: str, before: tuple[str, ...] = (), report: bool = False) -> Ended:
    """`openagentperf ARGUMENTS` in `folder`, to its end."""
    asked_for = arguments if report else _quiet(arguments)
    done = subprocess.run(
        [*before, *COMMAND, *asked_for], cwd=folder, capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> Ended:
    """The command line in this process: the same code without the half second of a start."""
    status = main(_quiet(arguments))
    printed = capsys.readouterr()
    return Ended(status, printed.out, printed.err)


@contextmanager
def going(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`openagentperf ARGUMENTS` in `folder`, while it goes on; ended at the latest with this."""
    with (folder / "stderr").open("w+") as errors:
        process = subprocess.Popen(
            [*COMMAND, *_quiet(arguments)], cwd=folder, stdout=subprocess.DEVNULL, stderr=errors, text=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def said(folder: Path) -> str:
    """What the process of `going` wrote to stderr."""
    return (folder / "stderr").read_text()


# -- looking at processes and folders ----------------------------------------------------------------------------------------


def children(of: int) -> dict[int, str]:
    """Live child processes: pid and command line."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, IndexError):  # not a process, or gone meanwhile
            continue
        if fields[1] == str(of) and fields[0] != "Z":
            found[int(entry.name)] = command
    return found


def workers(of: int | None = None, module: str = "openagentperf.load.worker") -> list[int]:
    """Load workers among the children of a process; without one, of this."""
    parent = os.getpid() if of is None else of
    return [pid for pid, command in children(parent).items() if module in command]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def await_that(holds: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait for another process to get somewhere, and fail in words where it does not."""
    end_s = time.monotonic() + patience_s
    pause = threading.Event()
    while not (found := holds()):
        assert time.monotonic() < end_s, f"waited {patience_s:g} s in vain: {what}"
        pause.wait(0.02)
    return found


async def until(holds: Callable[[], Any], what: str) -> None:
    """The same for what this loop itself is about to do."""
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s, f"waited {PATIENCE_S:g} s in vain: {what}"
        await asyncio.sleep(0.001)


def ledger(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]


def verdicts(folder: Path) -> list[tuple[int, str]]:
    """Level and verdict of every judged phase, for runs with one tier."""
    return [
        (line["agents"], line["judged"]["verdicts"][0]["verdict"])
        for line in ledger(folder)
        if line["event"] == "judged"
    ]


def reasons(folder: Path) -> str:
    lines = [line["judged"] for line in ledger(folder) if line["event"] == "judged"]
    return "\n".join(reason for judged in lines for reason in judged["verdicts"][0]["reasons"])


def turns(folder: Path) -> pl.DataFrame:
    """Rows of all closed phases of a run."""
    return pl.concat([pl.read_parquet(path) for path in sorted(folder.glob("phases/*/turns.parquet"))])

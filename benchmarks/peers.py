"""CPU a token and error of what is reported, beside other load generators, in one run on one machine.

    python -m benchmarks.peers --install DIR [NAME...]   makes the peers' environments, outside the repository
    python -m benchmarks.peers --peers DIR               measures; --docs writes the tables into docs/benchmarks.md

The target is mock_server.c, on core 0 and ahead of everything else where that is allowed; a client and all its processes have core 1. Five
loads, each by its own server:

    together     500 streams whose tokens all come in the same instants, 50 tokens/s each: what a token costs
    apart-500    500 streams with TTFT 200 to 700 ms, out of step: the same, with a wake-up for each token that does not share one
    apart-1000   1,000 of them: what is reported against the server's send log
    apart-2000   2,000 of them
    bodies       8 streams with bodies of 100 KB and 2 tokens: what a request costs

The clients take turns, `--repeats` times over; medians are compared. Programs of other projects, which need up to a minute for their own
start and end, run so often at `together`, and `--others` times elsewhere. One that is not installed, fails or does not end is a row that
says so. A token of ours is held to its bars with everything it costs, tables and metrics after the load too, against what the others spend
under load alone. The status is 1 where a bar is not kept.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from benchmarks.peer_clients import PEERS, Load, Peer
from benchmarks.peer_install import found_pythons, install
from benchmarks.peer_run import CLIENT_CORE, NOT_INSTALLED, SERVER_CORE, Ran, run
from benchmarks.peer_table import bars, page, spliced

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
_APART = "streams out of step, true TTFT 200 to 700 ms, 50 tokens/s each"
LOADS = {
    load.name: load
    for load in (
        # Longer than the others: the end of a phase costs 0.4 s of CPU whatever its length, and counts as a cost of its tokens here.
        Load(name="together", title="500 streams in step, 50 tokens/s each", streams=500, seconds=20),
        *(
            Load(
                name=f"apart-{n}",
                title=f"{n:,} {_APART}",
                streams=n,
                jitter_ms=500,
                tool_ms=(5, 30),
                ramp_s=1,
                rounds=rounds,
            )
            for n, rounds in ((500, 4), (1000, 3), (2000, 2))
        ),
        Load(
            name="bodies",
            title="Bodies of 100 KB, 8 streams, 2 tokens, true TTFT 20 ms",
            streams=8,
            tokens=2,
            ttft_ms=20,
            prompt_tokens=28_000,
            body_bytes=100_000,
            rounds=10,
        ),
    )
}


class Report(Struct, frozen=True, kw_only=True):
    """What `--json` keeps."""

    machine: str
    command: str
    loads: tuple[Load, ...]
    runs: tuple[Ran, ...]

    @property
    def page(self) -> str:
        told = "" if all(ran.server_ahead for ran in self.runs if ran.tokens) else "NOT "
        machine = f"{self.machine} The server could {told}be run ahead of other programs (SCHED_RR)."
        return page(self.runs, self.loads, machine, self.command)


def measure(given: argparse.Namespace) -> Report:
    """All runs, printed as they come and kept in the JSON file after each."""
    loads = tuple(_sized(LOADS[name], given.quick) for name in given.loads)
    peers = [PEERS[name] for name in given.names] or list(PEERS.values())
    report = Report(machine=_machine(), command=_command(given), loads=loads, runs=())
    end_s = time.monotonic() + 60 * given.minutes
    for number in range(given.repeats):
        for load in loads:
            for peer in peers:
                if time.monotonic() > end_s:
                    return report
                if number < _runs(peer, load, given):
                    ran = run(peer, load, given.peers)
                    report = replace(report, runs=(*report.runs, ran))
                    if number == 0 or ran.failure != NOT_INSTALLED:
                        print(_line(number, ran), flush=True)
                    if given.json:
                        given.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    return report


def together(reports: Sequence[Report]) -> Report:
    """One of several: all their runs, under the commands that made them."""
    first = reports[0]
    loads = {load.name: load for report in reports for load in report.loads}
    return replace(
        first,
        command="`, then `".join(report.command for report in reports),
        loads=tuple(loads.values()),
        runs=tuple(ran for report in reports for ran in report.runs),
    )


def _runs(peer: Peer, load: Load, given: argparse.Namespace) -> int:
    return int(given.repeats if peer.ours or load.name == "together" else min(given.others, given.repeats))


def _sized(load: Load, quick: bool) -> Load:
    return replace(load, seconds=2.5, rounds=1) if quick else load


def _line(number: int, ran: Ran) -> str:
    if not ran.tokens:
        return f"{number + 1} {ran.load:<11} {ran.peer:<17} {ran.failure}"
    errors = " ".join(
        f"{name} {value:+.2f}"
        for name, value in (
            ("TTFT P50", ran.ttft_p50_error_ms),
            ("P95", ran.ttft_p95_error_ms),
            ("speed %", ran.speed_error_percent),
        )
        if value is not None
    )
    return (
        f"{number + 1} {ran.load:<11} {ran.peer:<17} {ran.us_per_token:8.2f} us/token, {ran.us_per_token_in_all:8.2f} in all, "
        f"{ran.ms_per_request:8.3f} ms/request, {ran.tokens_per_s:8,.0f} tokens/s, {ran.open:5} open, errors: {errors}; "
        f"server late P99 {ran.server_late_p99_ms:.2f} ms, load {os.getloadavg()[0]:.1f} {ran.failure}"
    )


def _machine() -> str:
    cpu = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
        platform.machine(),
    )  # fmt: skip
    cores = len(os.sched_getaffinity(0))
    shared = "" if cores > 1 else " (server and client share it)"
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {cpu}, {cores} core{'s' * (cores > 1)}{shared}, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}, load average {os.getloadavg()[0]:.1f} at the start."
    )


def _command(given: argparse.Namespace) -> str:
    """As it would be typed elsewhere: the folder of peers is everybody's own."""
    words = ["python -m benchmarks.peers", *map(shlex.quote, given.names)]
    words += ["--peers DIR"] if given.peers else []
    words += [f"--repeats {given.repeats}", f"--others {given.others}"]
    words += ["--quick"] if given.quick else []
    words += [f"--loads {' '.join(given.loads)}"] if list(given.loads) != list(LOADS) else []
    return " ".join(words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PEERS)}; all where none are named")
    parser.add_argument("--install", type=Path, metavar="DIR", help="make the peers' environments there, and end")
    parser.add_argument("--python", action="append", default=[], help="an interpreter for them, tried before others")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="where the peers' environments are")
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--others", type=int, default=1, help="runs of other projects' programs at loads but `together`"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=math.inf,
        help="begin no run after so long; the tables tell how many there were",
    )
    parser.add_argument("--quick", action="store_true", help="a few seconds each, to see that everything runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every run there")
    parser.add_argument(
        "--from", type=Path, dest="kept", nargs="+", metavar="FILE", help="measure nothing: the tables of kept files"
    )
    parser.add_argument("--docs", action="store_true", help=f"write the tables into docs/{PAGE.name} too")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """0 where every bar that was measured is kept, 1 where one is not, 2 for an unknown name."""
    parser = _parser()
    given = parser.parse_args(argv)
    if unknown := [name for name in given.names if name not in PEERS]:
        parser.error(f"{unknown[0]}: no such client, one of {', '.join(PEERS)} was needed")
    if given.install:
        wrong = install(given.install, given.names, found_pythons(given.python))
        print("\n".join(wrong) or f"python -m benchmarks.peers --peers {given.install}")
        return 1 if wrong else 0
    if given.kept:
        report = together([msgspec.json.decode(file.read_bytes(), type=Report) for file in given.kept])
    else:
        print(f"server on core {SERVER_CORE}, client on core {CLIENT_CORE}", flush=True)
        report = measure(given)
        if given.json:
            given.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    print(f"\n{report.page}")
    if given.docs:
        PAGE.write_text(spliced(PAGE.read_text(), report.page))
    return 1 if any(b.missed for b in bars(report.runs, report.loads)) else 0


if __name__ == "__main__":
    sys.exit(main())

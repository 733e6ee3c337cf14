"""Whether a run notices that it is watched: read lag and lateness with a dashboard, a page that is open in it and a scraped exporter, and
without, in turn.

    read lag   P99 of the time between a read of the load path and the kernel's stamp on it, as each phase's judge has it; the median over
               phases. Bar: with the watchers it is at most 0.5 ms more, or within the spread of the phases without (a truth benchmark's
               whole error is 0.8 ms on these machines).
    watchers   CPU of the dashboard and of the exporter / wall time, start-up included.

Whole runs of the command line against the embedded target, all on this host: each arm is one search phase and three further ones.
`python -m benchmarks.watch_cost [--agents 12] [--seconds 6] [--pairs 2]`
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote
from urllib.request import urlopen

from benchmarks.cpu import cpu_s

COMMAND = (sys.executable, "-m", "openagentperf")
BAR_MS = 0.5


class Arm(NamedTuple):
    """One run: a figure a phase, and the CPU of each watcher over wall time."""

    lag_ms: list[float]
    late_ms: list[float]
    cpu: dict[str, float]


def plan(folder: Path, agents: int, seconds: float) -> Path:
    path = folder / "plan.toml"
    path.write_text(
        f"""
[[tiers.tier]]
name = "any"
output_speed = 0.1
ttft_s = 60
[search]
start = {agents}
limit = {agents}
[rigor]
preset = "quick"
search_measure_s = {seconds}
measure_s = {seconds}
limit_s = {3 * seconds + 20}
client_error = 1
"""
    )
    return path


def arm(agents: int, seconds: float, watched: bool) -> Arm:
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        command = [*COMMAND, "run", str(plan(here, agents, seconds)), "--out", str(here / "runs"), "--json"]
        cpu: dict[str, float] = {}
        if watched:
            (here / "runs").mkdir()
            with dashboard(here / "runs") as url, _looking(url, cpu):
                _run([*command, "--metrics-port", "0"], cpu)
        else:
            _run(command, cpu)
        (folder,) = (here / "runs").glob("2*")
        lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    judged = [line["judged"] for line in lines if line["event"] == "judged"]
    return Arm(
        lag_ms=[1e3 * phase["read_lag_p99_s"] for phase in judged],
        late_ms=[1e3 * phase["lateness_p99_s"] for phase in judged],
        cpu=cpu,
    )


def _run(command: Sequence[str], cpu: dict[str, float]) -> None:
    """To its end; the page of its exporter, where it has one, is scraped each second."""
    began_s = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("metrics on "):
                threading.Thread(target=_scrape, args=(line.split()[-1], process, cpu), daemon=True).start()
        if process.wait() != 0:
            raise SystemExit(f"the run ended with status {process.returncode}")
    if "exporter" in cpu:
        cpu["exporter"] /= time.monotonic() - began_s


def _scrape(url: str, process: subprocess.Popen[str], cpu: dict[str, float]) -> None:
    while process.poll() is None:
        with suppress(OSError):
            urlopen(url, timeout=5).read()
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if b"openagentperf.live.attached" in (entry / "cmdline").read_bytes():
                    cpu["exporter"] = cpu_s(int(entry.name))
        time.sleep(1.0)


@contextmanager
def dashboard(runs: Path) -> Iterator[str]:
    command = [*COMMAND, "dashboard", str(runs), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"{process.stdout.readline().split()[-1]} {process.pid}"
        finally:
            process.terminate()


@contextmanager
def _looking(told: str, cpu: dict[str, float]) -> Iterator[None]:
    """A page is open in the dashboard and reads its stream, and its metrics are scraped."""
    url, pid = told.split()
    over = threading.Event()
    began_s = time.monotonic()

    def look() -> None:
        while not over.wait(0.5):
            with suppress(OSError):
                runs = json.loads(urlopen(f"{url}api/runs", timeout=5).read())
                if not runs:
                    continue
                with urlopen(f"{url}api/runs/{quote(runs[0]['id'])}/stream", timeout=20) as stream:
                    while not over.is_set() and stream.readline():
                        pass

    def scrape() -> None:
        while not over.wait(1.0):
            with suppress(OSError):
                urlopen(f"{url}metrics", timeout=5).read()

    threads = [threading.Thread(target=work, daemon=True) for work in (look, scrape)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        cpu["dashboard"] = cpu_s(int(pid)) / (time.monotonic() - began_s)
        for thread in threads:
            thread.join(10)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--pairs", type=int, default=2)
    given = parser.parse_args(argv)
    arms: dict[bool, list[Arm]] = {False: [], True: []}
    for pair in range(given.pairs):
        for watched in (
            pair % 2 == 1,
            pair % 2 == 0,
        ):  # each order as often: a machine warms up, and neighbours come and go
            arms[watched].append(arm(given.agents, given.seconds, watched))
    lags = {watched: [lag for one in made for lag in one.lag_ms] for watched, made in arms.items()}
    lates = {watched: [late for one in made for late in one.late_ms] for watched, made in arms.items()}
    for what, values in (("read lag", lags), ("lateness", lates)):
        for watched, name in ((False, "without"), (True, "with watchers")):
            row = values[watched]
            print(
                f"P99 {what} {name:<14} median {statistics.median(row):7.3f} ms, {min(row):.3f} to {max(row):.3f}, phases {len(row)}"
            )
    for name in ("dashboard", "exporter"):
        shares = [one.cpu[name] for one in arms[True] if name in one.cpu]
        print(f"{name}: {statistics.median(shares):.1%} of one core" if shares else f"{name}: not seen")
    more = statistics.median(lags[True]) - statistics.median(lags[False])
    room = max(BAR_MS, max(lags[False]) - min(lags[False]))
    print(f"read lag with watchers: {more:+.3f} ms (bar {BAR_MS} ms, or the spread without: {room:.3f} ms)")
    return 1 if more > room else 0


if __name__ == "__main__":
    sys.exit(main())

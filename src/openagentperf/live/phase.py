"""One phase as a view: an open one from the frames that its workers append, a closed one from its tables."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl

from openagentperf import bench, rundir
from openagentperf.errors import StorageError
from openagentperf.live.records import PhaseView
from openagentperf.live.series import Series
from openagentperf.live.tail import FrameTail
from openagentperf.live.watts import Watts
from openagentperf.plan import Plan
from openagentperf.records.phase import PhaseKind
from openagentperf.records.power import MeterFacts
from openagentperf.records.progress import Stage
from openagentperf.records.turns import ClientSample, RawTurn
from openagentperf.score.columns import COLUMNS, Turns
from openagentperf.search.step import Step
from openagentperf.tables import read_readings, read_samples
from openagentperf.units import NS_PER_S, Ns, s_to_ns
from openagentperf.wire.chat import decode

_BATCH = 512


class OpenPhase:
    """Tails the frame files of a phase that has begun."""

    def __init__(self, run: Path, line: rundir.LedgerLine, start_ns: Ns, plan: Plan) -> None:
        rigor = plan.rigor
        self.line, self._rigor = line, rigor
        self.folder = rundir.phase_folder(run, line.index, line.agents)
        self.start_ns = start_ns
        opens_ns = start_ns + s_to_ns(line.agents / rigor.spawn_per_s + rigor.settle_s)
        self._shortest_s = rigor.measure_s if line.kind == "certify" else rigor.search_measure_s
        self._wanted = bench.quota(rigor, Step(agents=line.agents, kind=line.kind, why="")).turns
        self.series = Series(start_ns, opens_ns)
        self.closed = False
        """The ledger has closed it, or another one has begun."""
        self._tails: dict[Path, FrameTail] = {}
        self._last_error = ""
        self._kept: PhaseView | None = None
        """Once it is closed nothing more comes."""
        self.behind = False

    def poll(self, until_s: float) -> None:
        """Take in what has come, until `time.monotonic()` passes `until_s`."""
        for path in rundir.frame_files(self.folder):
            if path not in self._tails:
                self._tails[path] = FrameTail(path)
        for tail in self._tails.values():
            self._take(tail.read(until_s))
        self.behind = any(tail.behind for tail in self._tails.values())

    def _take(self, frames: Iterator[rundir.Frame]) -> None:
        rows, samples = [], []
        for frame in frames:
            if isinstance(frame, RawTurn):
                row = decode(frame)
                rows.append(row)
                if row.failure not in ("", "aborted"):
                    self._last_error = f"{row.failure}: {row.detail}"[:2000]
                if len(rows) >= _BATCH:
                    self.series.add_turns(Turns.from_rows(rows))
                    rows = []
            elif isinstance(frame, ClientSample):
                samples.append(frame)
        self.series.add_turns(Turns.from_rows(rows))
        self.series.add_samples(samples)

    @property
    def broken(self) -> list[str]:
        return [tail.broken for tail in self._tails.values() if tail.broken]

    def stage(self, now_ns: Ns) -> Stage:
        """By the phase's plan: when exactly its window closed stands nowhere until it is closed."""
        if self.closed or (self.folder / "turns.parquet").exists():
            return "judge"
        if now_ns < self.series.opens_ns:
            return "settle" if now_ns >= self.series.opens_ns - s_to_ns(self._rigor.settle_s) else "ramp"
        over = now_ns >= self.series.opens_ns + s_to_ns(self._shortest_s)
        return "drain" if over and self.series.measured >= self._wanted else "measure"

    def view(self, latest_ns: Ns) -> PhaseView:
        if not self.closed:
            self._kept = None
            return self._view(latest_ns)
        if self._kept is None:
            self._kept = self._view(latest_ns)
        return self._kept

    def _view(self, latest_ns: Ns) -> PhaseView:
        now_ns = max(latest_ns, self.series.latest_ns)
        left_s = max(0.0, (self.series.opens_ns - now_ns) / NS_PER_S + self._shortest_s)
        opens_s = (self.series.opens_ns - self.start_ns) / NS_PER_S
        view = _view(
            self.series, self.line.index, self.line.agents, self.line.kind, opens_s, self._shortest_s, self._wanted
        )
        over = self.stage(now_ns) == "judge"
        return msgspec.structs.replace(
            view,
            stage=self.stage(now_ns),
            left_s=None if over else left_s,
            in_flight=0 if over else view.in_flight,
            waiting=0 if over else view.waiting,
            active_agents=0 if over else view.active_agents,
            last_error=self._last_error,
        )


def closed_phase(run: Path, index: int, agents: int, meters: tuple[MeterFacts, ...], wanted: int) -> PhaseView:
    """A phase from its tables. StorageError where one of those that every phase has is missing or broken."""
    folder = rundir.phase_folder(run, index, agents)
    facts = rundir.read_facts(folder)
    series = Series(facts.order.start_ns, facts.window_start_ns, facts.window_end_ns)
    series.add_turns(_turns(folder / "turns.parquet"))
    series.add_samples(read_samples(folder))
    if meters and (folder / rundir.POWER).exists():
        readings = read_readings(folder / rundir.POWER)
        # Those of the seconds after the phase are for the edge of its window.
        Watts(meters).take((row for row in readings if row.t_ns <= facts.ended_ns), series)
    order = facts.order
    opens_s = (facts.window_start_ns - order.start_ns) / NS_PER_S
    length_s = (facts.window_end_ns - facts.window_start_ns) / NS_PER_S
    view = _view(series, index, agents, order.kind, opens_s, length_s, wanted)
    return msgspec.structs.replace(view, in_flight=None, waiting=None, active_agents=None)


def _turns(path: Path) -> Turns:
    """Only the columns that judgement reads: details of a million failures are not among them."""
    try:
        frame = pl.read_parquet(path, columns=list(COLUMNS)).with_columns(pl.col(pl.Int64).fill_null(-1))
        return Turns.from_columns({name: frame[name].to_numpy() for name in COLUMNS})
    except (OSError, pl.exceptions.PolarsError, ValueError, TypeError) as error:
        raise StorageError(
            str(path), f"cannot be read ({error})", "a judged phase has it", "restore the run folder"
        ) from error


def _view(
    series: Series, index: int, agents: int, kind: PhaseKind, opens_s: float, shortest_s: float, wanted: int
) -> PhaseView:
    in_flight, active = series.in_flight, series.active
    waiting = None if in_flight is None or active is None else max(0, active - in_flight)
    tokens = series.output_tokens_per_s()
    return PhaseView(
        index=index,
        agents=agents,
        kind=kind,
        stage="judge",
        opens_s=opens_s,
        shortest_s=shortest_s,
        left_s=None,
        measured_turns=series.measured,
        wanted_turns=wanted,
        failed_turns=series.failed,
        active_agents=active,
        in_flight=in_flight,
        waiting=waiting,
        ttft_p50_s=series.ttft.quantile(0.5),
        ttft_p95_s=series.ttft.quantile(0.95),
        speed_p25=series.speed.quantile(0.25),
        e2e_speed_p25=series.e2e_speed.quantile(0.25),
        output_tokens_per_s=tokens if tokens is not None and math.isfinite(tokens) else None,
        cached_share=series.cached_share(),
        errors=series.causes(),
        last_error="",
        ttft=series.ttft.curve(),
        speed=series.speed.curve(),
        e2e_speed=series.e2e_speed.curve(),
        timeline=series.timeline(),
    )

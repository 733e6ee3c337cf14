"""The meters of one run: open before the first phase, read after each, idle power before and after."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType

import msgspec

from openagentperf import rundir, tables
from openagentperf.client.clock import now_ns
from openagentperf.meters.csvlog import KIND
from openagentperf.meters.sampling import Sampling
from openagentperf.plan import Plan
from openagentperf.records.phase import PhaseFacts
from openagentperf.records.power import IdleSpan, IdleSpans, MeterFacts, Meters
from openagentperf.sim.power import DEVICE
from openagentperf.system import Meter, Prometheus
from openagentperf.units import NS_PER_S, Ns, s_to_ns

_FRAMES = "power.frames"
_MARGIN_NS: Ns = 5 * NS_PER_S
"""Rows so long before and after a phase stand in its table too: a window's edges lie between two readings."""
_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 5.0, 60.0
_LONGEST_IDLE_S = 10.0


def specs(plan: Plan, embedded_url: str | None) -> tuple[Meter, ...]:
    """The plan's meters; for the embedded target, where the plan names none, the simulated one behind its own page."""
    if plan.system.meters or embedded_url is None:
        return plan.system.meters
    page = embedded_url.removesuffix("/v1") + "/metrics"
    # 25 ms: the windows of `quick` are 6 s long, and an update at each edge must not hold 1 % of the energy.
    return (
        Prometheus(name="simulated", boundary="accelerator", basis="modelled", url=page, devices=(DEVICE,), period_s=0.025),
    )  # fmt: skip


class Metering:
    """Does nothing where there is no meter. MeterError where one cannot be opened: before the first request is sent."""

    def __init__(self, meters: tuple[Meter, ...], folder: Path, idle_s: float) -> None:
        self._folder = folder
        self._idle_s = min(idle_s, _LONGEST_IDLE_S)
        self._sampling: Sampling | None = None
        if meters:
            (folder / _FRAMES).unlink(missing_ok=True)  # of a run that was broken off: its open phase is run again
            self._sampling = Sampling(meters, folder / _FRAMES)
            facts = Meters(meters=(*self._sampling.meters, *_attached(folder / rundir.METERS)))
            rundir.write(folder / rundir.METERS, msgspec.json.format(msgspec.json.encode(facts), indent=1) + b"\n")

    def __enter__(self) -> Metering:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sampling is not None:
            self._sampling.close()
            (self._folder / _FRAMES).unlink(missing_ok=True)

    def phase_ended(self, folder: Path, facts: PhaseFacts) -> None:
        """Write the phase's `power.parquet`. Waits for an update of each sensor behind the window's end, up to 5 s or the longest gap that
        a meter may have."""
        if self._sampling is None:
            return
        self._wait_until_past(facts.window_end_ns)
        rows = self._sampling.between(facts.order.start_ns - _MARGIN_NS, max(facts.ended_ns, now_ns()))
        tables.write_readings(folder / rundir.POWER, rows)

    def idle(self, when: str) -> None:
        """Watch for a while without load; `when` is `before` or `after`. Kept from the first time on: a resumed run has its `before`."""
        if self._sampling is None or not self._idle_s:
            return
        path = self._folder / rundir.IDLE_SPANS
        spans = msgspec.json.decode(path.read_bytes(), type=IdleSpans).spans if path.exists() else ()
        if when == "before" and spans:
            return
        old = tables.read_readings(self._folder / rundir.IDLE) if spans else []
        start = now_ns() + NS_PER_S // 2
        end = start + s_to_ns(self._idle_s)
        time.sleep((end - now_ns()) / NS_PER_S)
        self._wait_until_past(end)
        tables.write_readings(self._folder / rundir.IDLE, [*old, *self._sampling.between(start - _MARGIN_NS, now_ns())])
        spans = (*spans, IdleSpan(when=when, start_ns=start, end_ns=end))
        rundir.write(path, msgspec.json.encode(IdleSpans(spans=spans)) + b"\n")

    def _wait_until_past(self, t_ns: Ns) -> None:
        assert self._sampling is not None
        gap_s = max((meter.max_gap_s for meter in self._sampling.meters), default=0.0)
        until = time.monotonic() + min(max(_SHORTEST_WAIT_S, gap_s), _LONGEST_WAIT_S)
        while time.monotonic() < until and self._sampling.alive and not self._sampling.updated_after(t_ns):
            time.sleep(0.02)


def _attached(path: Path) -> tuple[MeterFacts, ...]:
    """Logs that were attached before the run went on: its earlier phases hold their readings."""
    if not path.exists():
        return ()
    meters = rundir.read_record(path, Meters, "a run with meters has one", "restore it").meters
    return tuple(meter for meter in meters if meter.kind == KIND)

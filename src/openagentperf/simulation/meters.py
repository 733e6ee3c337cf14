"""Modelled meters: what a simulated cluster's pools draw, as rows of the same table that a real meter fills.

accelerator   energy of each pool, by what its workers do (sim.watts)
node, rack    the accelerators' sum x a ratio of the catalogue: hosts, fans, switches and losses, in proportion
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from openagentperf.records.power import DeviceFacts, MeterFacts, ReadBoundary, Reading
from openagentperf.score.boundary import SHARE
from openagentperf.sim.deployment import Compiled
from openagentperf.sim.virtual import SimPhase
from openagentperf.units import NS_PER_S

KIND = "simulation"
_PERIOD_S = 1.0
_GAP_S = 3.0


def facts(compiled: Compiled) -> tuple[MeterFacts, ...]:
    """`meters.json`: one meter a boundary that the catalogue has a ratio for; none where it is not known what a worker draws (a calibrated
    engine)."""
    if not any(w.power.prefill_w or w.power.decode_w for w in compiled.spec.workers):
        return ()
    pools: dict[str, float] = {}
    for w in compiled.spec.workers:
        pools[w.pool] = pools.get(w.pool, 0.0) + w.workers * w.accelerators_per_worker
    devices = tuple(DeviceFacts(device=pool, covers=round(count), counter=True) for pool, count in pools.items())
    meters = [_meter("accelerator", "modelled accelerators", "pools by what their workers do", devices)]
    system = compiled.system
    if compiled.ratios.node is not None and system.hosts:
        hosts = (DeviceFacts(device="hosts", covers=system.hosts, counter=True),)
        meters.append(_meter("node", "modelled nodes", f"accelerators x {compiled.ratios.node:.3g}", hosts))
    if compiled.ratios.rack is not None and system.racks:
        racks = (DeviceFacts(device="racks", scope=SHARE, counter=True),)
        meters.append(_meter("rack", "modelled racks", f"accelerators x {compiled.ratios.rack:.3g}", racks))
    return tuple(meters)


def _meter(boundary: ReadBoundary, name: str, source: str, devices: tuple[DeviceFacts, ...]) -> MeterFacts:
    return MeterFacts(
        name=name, kind=KIND, boundary=boundary, basis="modelled", source=source, devices=devices,
        period_s=_PERIOD_S, max_gap_s=_GAP_S, stale_s=_GAP_S,
    )  # fmt: skip


def readings(phase: SimPhase, compiled: Compiled) -> list[Reading]:
    """The phase's power as energy counters: at every sample, and at both edges of the window, so that no part of an update is guessed."""
    if not facts(compiled):
        return []
    times, pools = _joules(phase)
    total = np.sum(list(pools.values()), axis=0)
    counters = [("modelled accelerators", pool, joules) for pool, joules in pools.items()]
    ratios = compiled.ratios
    scaled = {"modelled nodes": ("hosts", ratios.node), "modelled racks": ("racks", ratios.rack)}
    for meter in facts(compiled)[1:]:
        device, ratio = scaled[meter.name]
        assert ratio is not None
        counters.append((meter.name, device, total * ratio))
    return [
        Reading(meter=meter, device=device, quantity="energy", t_ns=t_ns, value=value)
        for meter, device, joules in counters
        for t_ns, value in zip(times.tolist(), joules.tolist(), strict=True)
    ]


def mean_w(phase: SimPhase) -> float:
    """Of all pools together, over the measure window."""
    start, end = phase.facts.window_start_ns, phase.facts.window_end_ns
    times, pools = _joules(phase)
    total = sum(pools.values())
    return float(np.interp(end, times, total) - np.interp(start, times, total)) / ((end - start) / NS_PER_S)


def _joules(phase: SimPhase) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Times, rising, and the energy of each pool since the phase's start at each of them; pools of one name are one."""
    at: dict[str, dict[int, float]] = {}
    for point in phase.power:
        pool = at.setdefault(point.pool, {})
        pool[point.t_ns] = pool.get(point.t_ns, 0.0) + point.joules
    seen = sorted({t for pool in at.values() for t in pool})
    times = np.unique(np.array([*seen, phase.facts.window_start_ns, phase.facts.window_end_ns], dtype=np.int64))
    return times, {
        name: np.interp(times, np.fromiter(pool, dtype=np.int64), np.fromiter(pool.values(), dtype=np.float64))
        for name, pool in at.items()
    }

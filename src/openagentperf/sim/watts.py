"""What an accelerator draws by what its worker does, and how much more the machine around it draws (docs/catalog.md#power).

    watts = TDP x (running + full_swing x busy)      while matrices are multiplied or weights are read
            TDP x attention                          while decode's attention runs
            TDP x gaps                               in launches and collectives, and while it waits for others in lockstep
            TDP x idle                               when no step runs
    busy  = min(1, max(bandwidth used / 0.6, arithmetic used / 0.15)), shares of the peaks

The curve lies within +-15 % of the experts' and prefill attention's kernels of one part (B200), out of the 122 thousand kernel rows with
watts that aiconfigurator's tables have of it; other makers' parts take the same curve with +-25 %.
"""

from __future__ import annotations

from msgspec import Struct

from openagentperf.sim.cells import Ledger
from openagentperf.sim.entries import Accelerator, SystemEntry
from openagentperf.sim.physics import TYPICAL_CONTEXT, Machine, Split, step_parts
from openagentperf.sim.shapes import Shape
from openagentperf.sim.spec import PowerDraw

BUSY_BANDWIDTH, BUSY_ARITHMETIC = 0.6, 0.15
_PREFILL_ATTENTION = 0.74
"""Median of prefill attention kernels on B200: 740 of 1,000 W."""


class BoundaryRatios(Struct, frozen=True, kw_only=True):
    """From the accelerators' power to wider boundaries. None where the machine's rating is not known."""

    node: float | None = None
    """Hosts' power over their accelerators' power, taken from ratings: rated host / (accelerators x TDP)."""
    rack: float | None = None
    provisioned_w: float | None = None
    """Rated power an accelerator: its share of the rack's, else of the host's."""
    uncertainty: float = 0.2
    """Share that the ratios may be off: a rating holds more fans and processors than a running machine uses."""


def draw_of(
    accelerator: Accelerator, name: str, shape: Shape, machine: Machine, split: Split, ledger: Ledger,
    *, batch: int, drafts: int, power: float = 1.0,
) -> PowerDraw:  # fmt: skip
    """Watts of one accelerator; decode at the given batch and a context of 27,000 tokens. UsageError where the TDP is unknown."""
    at = f"accelerator.{name}"
    generation = accelerator.generation
    assert generation is not None  # machine_of has refused it
    tdp = ledger.read(f"{at}.tdp", accelerator.tdp) * power

    def share(key: str) -> float:
        return ledger.read(f"{at}.generation.{key}", getattr(generation, key))

    idle, running, swing, attention, gaps = map(share, ("idle", "running", "full_swing", "attention", "gaps"))
    share("power_error")  # no part of the watts: listed beside them, for the band around them
    ledger.refuse(name)
    peak_share = ledger.read(f"{at}.generation.memory_efficiency", generation.memory_efficiency)
    reading = running + swing * min(1.0, peak_share / BUSY_BANDWIDTH)
    multiplying = running + swing * min(1.0, machine.mfu / BUSY_ARITHMETIC)
    parts = step_parts(shape, machine, split, max(1, batch), drafts)
    kv = sum(p.context_bytes / min(split.tp, p.kv_heads) for p in shape.parts) * TYPICAL_CONTEXT * max(1, batch)
    kv_s = parts.attention + kv / machine.bytes_per_s
    total = parts.gaps + parts.memory + parts.arithmetic + kv_s
    decode = (
        parts.gaps * gaps + parts.memory * reading + parts.arithmetic * min(multiplying, reading) + kv_s * attention
    ) / total
    in_attention = 1 - shape.matrix_flops / shape.flops(TYPICAL_CONTEXT / 2)
    prefill = (1 - in_attention) * multiplying + in_attention * min(multiplying, _PREFILL_ATTENTION)
    return PowerDraw(idle_w=idle * tdp, decode_w=decode * tdp, prefill_w=prefill * tdp, wait_w=gaps * tdp)


def ratios_of(system: SystemEntry, ledger: Ledger) -> BoundaryRatios:
    """Of the ratings; a boundary whose rating is unknown stays None."""
    tdp, accelerators = system.accelerator.tdp.value, system.accelerators.value
    at = f"system.{system.name}"
    node = rack = provisioned = None
    if tdp and accelerators and system.hosts.value and system.node_power.value:
        per_host = accelerators / system.hosts.value
        provisioned = ledger.read(f"{at}.node_power", system.node_power) / per_host
        node = provisioned / tdp
    if tdp and system.rack_power.value and system.rack_accelerators.value:
        provisioned = ledger.read(f"{at}.rack_power", system.rack_power) / ledger.read(
            f"{at}.rack_accelerators", system.rack_accelerators
        )
        rack = provisioned / tdp
    return BoundaryRatios(node=node, rack=rack, provisioned_w=provisioned)

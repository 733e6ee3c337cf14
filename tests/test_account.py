"""What a simulated result says of its own errors."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec.structs import replace

import simulated
from openagentperf.sim import account
from openagentperf.sim.cells import Constant
from openagentperf.sim.watts import BoundaryRatios


def test_how_far_power_may_be_off_is_what_its_constants_and_ratios_say(tmp_path: Path) -> None:
    told = simulated.simulation(ratios=BoundaryRatios(node=1.5, uncertainty=0.35))
    error = Constant(
        name="accelerator.toy.generation.power_error",
        value=0.15,
        unit="share",
        mark="assumed",
        source="us",
        uncertainty=0.0,
    )
    told = replace(told, compiled=replace(told.compiled, constants=(error,)))
    (tmp_path / account.SIMULATION).write_bytes(msgspec.json.encode(told))
    notes = account.account(tmp_path, simulated.TIERS, [], []).notes
    assert notes == (
        "modelled power may be off by +-15%, beyond the accelerators by +-35% more: ratios of ratings",
        "a toy",
    )

"""Two systems whose capacity somebody has measured and disclosed, against the prediction from the catalogue alone.

Artificial Analysis, AgentPerf, DeepSeek V4 Pro at 20 tokens/s (P25) and 10 s (P95): 57.5 agents a GPU on 32 GB300 in the disclosed
configuration, 1.4 a GPU on 8 H200. No constant is fitted to either; docs/simulate.md#known-systems says what decides each prediction.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from openagentperf import planfile
from openagentperf.cli.simulate import wished
from openagentperf.corpusfile import open_corpus
from openagentperf.corpusjobs.prepare import prepare
from openagentperf.plan import Plan
from openagentperf.sim.account import Simulation
from openagentperf.simulation import job
from openagentperf.simulation.explore import Load, at_level, exploring
from openagentperf.simulation.wish import simulation_of

GB300, GB300_PUBLISHED = "gb300-nvl72", 57.5
H200, H200_PUBLISHED = "hgx-h200", 1.4


def asked(system: str) -> tuple[Plan, Simulation]:
    plan = wished(None, planfile.Overrides(tiers="aa-deepseek-v4-pro"), {"system": system, "model": "deepseek-v4-pro"})
    assert plan.simulate is not None
    return replace(plan, tiers=replace(plan.tiers, tier=plan.tiers.tier[:1])), simulation_of(plan.simulate)


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """A hundred sessions, for the short tests."""
    plan = few(asked(H200)[0])
    return Load.of(plan, open_corpus(prepare(plan.workload, plan.seed, tmp_path_factory.mktemp("corpora")).path))


def few(plan: Plan) -> Plan:
    return replace(plan, workload=replace(plan.workload, trajectories=100))


def passes(system: str, agents: int, load: Load, window_s: float) -> tuple[bool, float]:
    """Whether one phase at this level passes, and its hit rate."""
    plan, simulation = asked(system)
    spec = simulation.compiled.spec
    rigor = replace(exploring(plan.rigor, spec.accelerators), search_measure_s=window_s)
    level = at_level(replace(plan, rigor=rigor), spec, load, agents)
    hit = level.seen.usage.hit_rate
    assert hit is not None
    return level.seen.judged.verdict(plan.tiers.tier[0].name) == "pass", hit


def test_h200_in_short(load: Load) -> None:
    """7 agents pass and 64 do not: the bar is a factor of two around 11.2, and what a pool does that overflows now and then takes the full
    test's hours to be seen (23 fail there)."""
    low, hit = passes(H200, 7, load, 600)
    assert low
    assert hit > 0.94
    high, worse = passes(H200, 64, load, 600)
    assert not high
    assert worse < hit - 0.02  # it is the KV pool that overflows


@pytest.mark.slow
@pytest.mark.xfail(
    strict=True, reason="the bar is missed: 27 agents, 3.38 a GPU, 2.41 times what was published (docs/simulate.md)"
)
def test_h200_lies_within_a_factor_of_two(tmp_path: Path) -> None:
    plan, simulation = asked(H200)
    result = job.simulate(plan, simulation, tmp_path, lambda _: None).result
    (tier,) = result.results
    assert result.simulated is not None
    assert tier.standing == "certified"
    assert tier.agents_per_accelerator == pytest.approx(H200_PUBLISHED, rel=1.0)  # 0 .. 2.8
    assert tier.agents_per_accelerator >= H200_PUBLISHED / 2
    assert result.simulated.tiers[0].binds.resource == "kv"


@pytest.mark.slow
def test_gb300_lies_between_its_two_readings(tmp_path: Path) -> None:
    """Who streams the first token decides by more than the bar of 15 % is wide: where the prefill worker does, the prediction lies within
    it; where the decode worker does (the default), above it. It is not disclosed, and neither is chosen by the published number."""
    plan, simulation = asked(GB300)
    predicted = {}
    for streams in ("prefill", "decode"):
        compiled = replace(simulation.compiled, spec=replace(simulation.compiled.spec, first_token=streams))
        result = job.simulate(plan, replace(simulation, compiled=compiled), tmp_path, lambda _: None).result
        assert result.simulated is not None
        assert result.simulated.tiers[0].hit_rate == pytest.approx(
            0.967, abs=0.01
        )  # as NVIDIA measured it; here an outcome
        predicted[streams] = result.results[0].agents_per_accelerator
    assert predicted["prefill"] == pytest.approx(GB300_PUBLISHED, rel=0.15)
    assert predicted["prefill"] < GB300_PUBLISHED < predicted["decode"] < 1.3 * GB300_PUBLISHED


def test_gb300_in_short(load: Load) -> None:
    """Half of the published level passes with a hit rate near the one that was measured, from pools that are simulated."""
    low, hit = passes(GB300, round(32 * GB300_PUBLISHED / 2), load, 60)
    assert low
    assert hit == pytest.approx(0.967, abs=0.01)

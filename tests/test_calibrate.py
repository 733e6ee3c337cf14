"""A simulated engine is measured and its constants are fitted: they must be the ones it was made of, and other levels must follow."""

from __future__ import annotations

import numpy as np
import pytest

from openagentperf.records.phase import PhaseOrder, Quota
from openagentperf.score.cache import Sharing
from openagentperf.score.columns import Turns
from openagentperf.sim.spec import ClusterSpec, KvGroup, PowerDraw, StepCosts, WorkerSpec
from openagentperf.sim.virtual import run_phase
from openagentperf.sim.workload import PlainTurn, Workload
from openagentperf.simulation import calibrate_rows
from openagentperf.simulation.calibrate_batch import fit_batch
from openagentperf.simulation.calibrate_cache import fit_cache
from openagentperf.simulation.calibrate_rows import Level
from openagentperf.simulation.calibrate_squares import fit_costs
from openagentperf.simulation.calibrate_work import CONSTANTS, Spread

BASE_S, SEQUENCE_S, KV_S, START_S, TOKEN_S, CONTEXT_S, FRONT_S = 8e-3, 4e-4, 5e-8, 4e-3, 6e-5, 2e-9, 0.03


def spec(*, max_batch: int = 64, pool_tokens: float = 1e9, slots: int = 0) -> ClusterSpec:
    costs = StepCosts(
        step_s=(0.0, *(BASE_S + SEQUENCE_S * b for b in range(1, max_batch + 1))), per_kv_token_s=KV_S,
        prefill_token_s=TOKEN_S, prefill_context_s=CONTEXT_S, prefill_start_s=START_S,
    )  # fmt: skip
    worker = WorkerSpec(
        pool="engine", role="aggregated", workers=1, accelerators_per_worker=1, costs=costs,
        power=PowerDraw(idle_w=0, decode_w=0, prefill_w=0), max_batch=max_batch, chunk_tokens=512,
        kv=(KvGroup(name="all", kind="full", bytes_per_token=1),), kv_pool_bytes=pool_tokens, block_tokens=1 if slots else 16,
        slots=slots,
    )  # fmt: skip
    return ClusterSpec(name="truth", workers=(worker,), max_model_len=131_072, front_s=FRONT_S)


def sessions(count: int = 40, turns: int = 30, first: int = 3000) -> Workload:
    """Contexts grow from 3,000 by 60 to 300 tokens a turn; answers of 20 to 140 tokens; half a second to two of tools."""
    made = []
    for session in range(count):
        tokens, rows = first + 37 * session, []
        for turn in range(turns):
            step = (session * 31 + turn * 17) % 97
            tokens += 60 + 5 * (step % 49)
            rows.append(PlainTurn(tokens, 20 + step * 120 // 97, (500 + 15 * step) * 1_000_000))
        made.append(rows)
    return Workload.plain(made, shared_tokens=600)


WORK = sessions()
SHARING = Sharing.of([1] * 40, [0] * 40, [600 * 4] * 40)
"""A prompt token of such a workload is 4 bytes."""


def measured(truth: ClusterSpec, agents: int, work: Workload = WORK, turns: int = 400) -> Level:
    order = PhaseOrder(
        index=0, agents=agents, kind="search", seed=agents, phase_nonce="", nonce_key=b"", start_ns=0, spawn_per_s=4, settle_s=5,
        measure_s=20, limit_s=2000, turn_timeout_s=1000,
    )  # fmt: skip
    phase = run_phase(truth, work, order, Quota(turns, 0))
    return calibrate_rows.level(phase.facts, Turns.from_columns(phase.columns), SHARING)


def test_the_constants_of_a_simulated_engine_come_back():
    """From levels of 2 and 24 agents. Prefill per token and per token of context go together (contexts differ by a factor of two only),
    so that they are compared by what they give for a prompt of 5,000 tokens with 150 new ones, and for a cold one."""
    solved = fit_costs([measured(spec(), n) for n in (2, 24)])[0]
    found = dict(zip(CONSTANTS, solved.values.tolist(), strict=True))
    assert found["step_base_s"] == pytest.approx(BASE_S, rel=0.05)
    assert found["step_sequence_s"] == pytest.approx(SEQUENCE_S, rel=0.25)
    assert found["kv_token_s"] == pytest.approx(KV_S, rel=0.15)
    assert found["front_s"] == pytest.approx(FRONT_S, rel=0.25)
    for new, before in ((150, 4850), (4000, 600)):
        want = FRONT_S + START_S + new * (TOKEN_S + CONTEXT_S * (before + new / 2))
        got = found["front_s"] + found["prefill_start_s"]
        got += new * (found["prefill_token_s"] + found["prefill_context_s"] * (before + new / 2))
        assert got == pytest.approx(want, rel=0.1), (new, before)


def test_at_one_agent_nobody_can_tell_what_a_sequence_more_costs():
    solved = fit_costs([measured(spec(), 1, turns=150)])[0]
    told = dict(zip(CONSTANTS, solved.identified, strict=True))
    assert not (told["step_base_s"] and told["step_sequence_s"])
    found = dict(zip(CONSTANTS, solved.values.tolist(), strict=True))
    step_s = found["step_base_s"] + found["step_sequence_s"] + 5000 * found["kv_token_s"]
    assert step_s == pytest.approx(BASE_S + SEQUENCE_S + 5000 * KV_S, rel=0.05)


def test_a_batch_limit_is_seen_where_requests_wait_for_it_and_not_where_they_wait_for_prefill():
    limited = [measured(spec(max_batch=6), n) for n in (2, 20)]
    assert fit_batch(limited).most == 6
    assert fit_batch(limited).reached
    free = [measured(spec(), n) for n in (2, 20)]
    assert not fit_batch(free).reached
    assert not fit_batch([measured(spec(max_batch=6), 3)]).reached, "three agents never meet it"


@pytest.mark.parametrize("slots", [3, 6])
def test_slots_are_told_from_a_pool_and_counted(slots: int):
    levels = [measured(spec(max_batch=slots, slots=slots), n) for n in (2, slots + 3)]
    cache, batch = fit_cache(levels), fit_batch(levels)
    assert cache is not None
    assert batch.most == slots
    told = cache.beside(batch.most, batch.reached)
    assert (told.kind, told.size) == ("slots", slots)


def test_a_pool_is_sized_by_what_it_forgets():
    """Ten conversations of 3,000 to 9,000 tokens in 45,000."""
    levels = [measured(spec(pool_tokens=45_000), n) for n in (3, 10)]
    cache = fit_cache(levels)
    assert cache is not None
    assert cache.kind == "pool"
    assert cache.size == pytest.approx(45_000, rel=0.1)


def test_a_pool_that_never_overflows_has_no_size():
    cache = fit_cache([measured(spec(), 4)])
    assert cache is not None
    assert cache.kind == "unlimited"


def test_work_is_spread_evenly_over_its_span():
    """2 over 0..4 and 6 over 2..5: by 3 s 1.5 and 2 are done."""
    spread = Spread(np.array([0.0, 2.0]), np.array([4.0, 5.0]), np.array([2.0, 6.0]))
    assert spread.between(np.array([0.0, 0.0, 3.0]), np.array([3.0, 9.0, 4.0])) == pytest.approx([3.5, 8.0, 2.5])

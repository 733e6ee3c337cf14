"""What a forward pass of prefill costs whatever is in it: once a step that holds prompts, for however many."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from openagentperf.sim.cost import Chunk, Step
from openagentperf.sim.spec import StepCosts
from openagentperf.sim.workernode import node_of
from openagentperf.units import NS_PER_MS
from workers import Order, alone, carry_out, spec_of

COSTS = StepCosts(step_s=(0.0, 0.01, 0.01, 0.01), prefill_token_s=0.001, chunk_start_s=0.005)
WORKER = spec_of(COSTS, max_batch=3, chunk_tokens=100)


def firsts_ms(*prompts: int) -> list[float]:
    """First tokens of a prompt that keeps the worker until 25 ms (5 + 20), and of others that come meanwhile."""
    orders = [Order(at_ns=0, prompt=20, output=1, conversation=0)]
    orders += [Order(at_ns=NS_PER_MS, prompt=prompt, output=1, conversation=n) for n, prompt in enumerate(prompts, 1)]
    return [job.first_ns / NS_PER_MS for job in carry_out(alone(WORKER), orders).jobs]


@pytest.mark.parametrize(
    ("prompts", "first_ms"),
    [
        ((), [25]),
        ((30, 40), [25, 100, 100]),  # 5 + 30 + 40, in one chunk
        ((250,), [25, 290]),  # three chunks: 3 x 5 + 250
        ((60, 60), [25, 130, 155]),  # 5 + 60 and 40 of the second; its 20 tokens left are a chunk of their own: 5 + 20
    ],
)
def test_prompts_of_one_chunk_share_its_start(prompts: tuple[int, ...], first_ms: list[float]) -> None:
    assert firsts_ms(*prompts) == pytest.approx(first_ms)


def test_the_step_by_step_replica_has_the_same_price() -> None:
    node = node_of(replace(alone(WORKER), max_model_len=10_000))
    two = [Chunk(0, 30, True), Chunk(0, 40, True)]
    assert node.price(Step(2, 70, 0, 0, two)).ns == 75 * NS_PER_MS  # 5 + 70
    assert node.price(Step(3, 80, 1, 0, two)).ns == 85 * NS_PER_MS  # and a decode step
    assert node.price(Step(1, 10, 1, 0, [])).ns == 10 * NS_PER_MS

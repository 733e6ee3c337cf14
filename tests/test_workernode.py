"""A worker of a cluster as a node: the price of a step, the pool's blocks, and what it refuses to be."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from msgspec.structs import replace

from openagentperf.errors import UsageError
from openagentperf.sim.cost import Chunk, Step
from openagentperf.sim.power import PowerModel
from openagentperf.sim.replica import Replica, Request
from openagentperf.sim.spawn import spawned
from openagentperf.sim.spec import ClusterSpec, KvGroup, PowerDraw, StepCosts, WorkerSpec
from openagentperf.sim.workernode import node_of, pool_blocks, power_of

COSTS = StepCosts(
    step_s=(0.0, 0.010, 0.012, 0.014),
    per_kv_token_s=1e-6,
    tokens_per_step=2.5,
    prefill_token_s=1e-5,
    prefill_context_s=1e-9,
    prefill_start_s=0.002,
)
WORKER = WorkerSpec(
    pool="all",
    role="aggregated",
    workers=2,
    accelerators_per_worker=4,
    costs=COSTS,
    power=PowerDraw(idle_w=100, decode_w=500, prefill_w=900),
    max_batch=3,
    chunk_tokens=1_000,
    kv=(
        KvGroup(name="full", kind="full", bytes_per_token=8),
        KvGroup(name="window", kind="window", bytes_per_token=4, window_tokens=100),
        KvGroup(name="narrow", kind="window", bytes_per_token=5, window_tokens=10),
    ),
    kv_pool_bytes=1_025_350,
)
CLUSTER = ClusterSpec(name="two of four", workers=(WORKER,), max_model_len=8_192)


@pytest.mark.parametrize(
    ("step", "ns", "prefill_share"),
    [
        (Step(2, 900, 2, 900, []), 12_900_000, 0),  # step_s[2] + 900 x 1 us
        # 2 ms to start, 500 x (10 us + 1 ns x (0 + 250)) = 5.125 ms
        (Step(1, 500, 0, 0, [Chunk(0, 500, True)]), 7_125_000, 1),
        # no start; 500 x (10 us + 1 ns x (1,000 + 250)) = 5.625 ms; decode 10 + 0.1 ms beside it
        (Step(2, 1_600, 1, 100, [Chunk(1_000, 500, False)]), 15_725_000, 5.625 / 15.725),
    ],
)
def test_the_price_of_a_step(step: Step, ns: int, prefill_share: float) -> None:
    price = node_of(CLUSTER).price(step)
    assert price.ns == ns
    assert price.prefill_share == pytest.approx(prefill_share)


def test_the_pool_is_what_the_fixed_part_of_a_full_batch_leaves() -> None:
    # 1,025,350 - 3 x (4 x 100 + 5 x 10) = 1,024,000 bytes = 2,000 blocks of 64 x 8
    assert pool_blocks(WORKER) == 2_000
    assert node_of(CLUSTER).blocks == 2_000


@pytest.mark.e2e
def test_a_worker_behind_http_streams_an_event_a_step(tmp_path: Path) -> None:
    """12 tokens at 2.5 a step: six events, and usage counts tokens, not events."""
    file = tmp_path / "cluster.json"
    file.write_bytes(msgspec.json.encode(CLUSTER))
    body = {
        "model": "served", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 12, "ignore_eos": True, "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }  # fmt: skip
    with spawned("openagentperf.sim.serve", "--cluster", str(file), "--model", "served") as base:
        parts = urlsplit(base)
        client = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
        client.request("POST", "/v1/chat/completions", json.dumps(body))
        streamed = client.getresponse().read()
        client.request("GET", "/v1/models")
        (entry,) = json.loads(client.getresponse().read())["data"]
        client.request("POST", "/v1/chat/completions", json.dumps(body | {"stream": False}))
        whole = json.loads(client.getresponse().read())
        client.close()
    events = [
        json.loads(line.removeprefix(b"data: ")) for line in streamed.split(b"\n\n") if line and b"[DONE]" not in line
    ]
    _, *tokens, _, usage = events
    assert [event["usage"]["completion_tokens"] for event in tokens] == [1, 3, 6, 8, 11, 12]
    assert usage["usage"]["completion_tokens"] == 12
    assert (
        "".join(event["choices"][0]["delta"]["content"] for event in tokens)
        == whole["choices"][0]["message"]["content"]
    )
    assert entry["max_model_len"] == 8_192


def test_power_is_that_of_all_its_accelerators() -> None:
    assert power_of(CLUSTER) == PowerModel(idle_w=400, decode_w=2_000, prefill_w=3_600)


def split() -> ClusterSpec:
    prefill, decode = (replace(WORKER, pool=role, role=role) for role in ("prefill", "decode"))
    return replace(CLUSTER, workers=(prefill, decode))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (split(), "one aggregated worker"),
        (replace(CLUSTER, workers=(replace(WORKER, lockstep=2),)), "step together, 2"),
        (replace(CLUSTER, workers=(replace(WORKER, slots=4),)), "4 slots"),
        (replace(CLUSTER, workers=(replace(WORKER, kv_pool_bytes=1_000),)), "hold no block"),
        (replace(CLUSTER, workers=(replace(WORKER, kv=WORKER.kv[1:]),)), "no KV group grows"),
        (replace(CLUSTER, max_model_len=131_072), "max_model_len needs 131072"),
    ],
    ids=["split", "lockstep", "slots", "no room", "no paged group", "context beyond the pool"],
)
def test_what_a_node_cannot_be(spec: ClusterSpec, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        node_of(spec)


@pytest.mark.parametrize(
    ("output_tokens", "per_step"),
    [
        (1, [1]),  # prefill makes the first
        (4, [1, 2, 1]),  # 2.5 earned, 2 given; 3.0 earned, 1 wanted
        (12, [1, 2, 3, 2, 3, 1]),
    ],
)
def test_speculation_gives_whole_tokens_of_what_it_earns(output_tokens: int, per_step: list[int]) -> None:
    replica = Replica(node_of(CLUSTER))
    events = replica.submit(Request(id=1, prompt_tokens=100, output_tokens=output_tokens), 0)
    while (at := replica.next_event_ns()) is not None:
        events += replica.advance(at)
    assert [event.tokens for event in events] == per_step
    assert [event.done for event in events] == [False] * (len(per_step) - 1) + [True]
    assert replica.counters.generated_tokens == output_tokens
    assert replica.pool.pinned == 0


def test_blocks_are_there_before_a_step_that_makes_several_tokens() -> None:
    """63 prompt tokens and 9 of output: the second step's three tokens, 66 in all, need a second block before it begins."""
    replica = Replica(node_of(CLUSTER))
    replica.submit(Request(id=1, prompt_tokens=63, output_tokens=9), 0)
    held: list[Any] = []
    while (at := replica.next_event_ns()) is not None:
        replica.advance(at)
        held.append((replica.counters.generated_tokens, replica.pool.pinned))
    assert held == [(1, 2), (3, 2), (6, 2), (8, 2), (9, 0)]

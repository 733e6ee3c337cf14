"""Laws of the physics: more of a good thing never hurts, bytes add up, and what is unknown never becomes a number."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from openagentperf.errors import UsageError
from openagentperf.sim.catalog import Catalog
from openagentperf.sim.cells import Cell, Ledger
from openagentperf.sim.deployment import Scale, compile_cluster
from openagentperf.sim.entries import Accelerator
from openagentperf.sim.physics import (
    Split,
    activation_bytes,
    machine_of,
    pool_bytes,
    step_costs,
    step_seconds,
    weights_of,
)
from openagentperf.sim.shapes import Shape, shape_of

CATALOG = Catalog.load()


def shape(name: str) -> Shape:
    model = CATALOG.model(name)
    return shape_of(
        model,
        name,
        Ledger(),
        model.served_weights or model.weights,
        model.served_weights or model.dense_weights,
        "fp8",
        "fp8",
    )


SHAPES = {name: shape(name) for name in CATALOG.names("model")}
names = st.sampled_from(sorted(SHAPES))
parts = st.sampled_from(["h100", "h200", "b200", "b300", "gb200", "gb300", "mi300x", "mi325x", "mi355x"])
powers = st.sampled_from([1, 2, 4, 8])
better = st.floats(1.0, 3.0)


def layout(of: Shape, tp: int, dp: int) -> Split:
    return Split(tp=tp, dp=dp if of.moe_layers else 1, ep=tp * dp if of.moe_layers else 1)


def times(of: Shape, entry: Accelerator, part: str, how: Split, batch: int, **scale: float) -> tuple[float, ...]:
    """Seconds of a step, of a prefill token at 0 and at 100,000 tokens of context, and of a token of context in decode."""
    costs = step_costs(
        of,
        machine_of(entry, part, of.family, of.weights, Ledger(), **scale),
        how,
        max_batch=batch,
        drafts=0,
        acceptance=1.0,
    )
    return (
        costs.step_s[batch],
        costs.prefill_token_s,
        costs.prefill_token_s + 1e5 * costs.prefill_context_s,
        costs.per_kv_token_s,
    )


@settings(deadline=None, max_examples=150)
@given(
    names, parts, powers, powers, st.integers(1, 64), st.sampled_from(["bandwidth", "bf16", "fp8", "scale_up"]), better
)
def test_better_hardware_is_never_slower(
    name: str, part: str, tp: int, dp: int, batch: int, key: str, factor: float
) -> None:
    of, entry = SHAPES[name], CATALOG.accelerator(part)
    how = layout(of, tp, dp)
    cell = getattr(entry, key)
    more = replace(entry, **{key: replace(cell, value=cell.value * factor)})
    assert all(
        a <= b * (1 + 1e-12)
        for a, b in zip(times(of, more, part, how, batch), times(of, entry, part, how, batch), strict=True)
    )


@settings(deadline=None, max_examples=100)
@given(names, parts, st.integers(1, 64), st.floats(1.0, 1.2), st.floats(0.5, 1.0))
def test_a_scale_moves_all_times_its_way(name: str, part: str, batch: int, more: float, less: float) -> None:
    of, entry, how = SHAPES[name], CATALOG.accelerator(part), layout(SHAPES[name], 2, 2)
    plain = times(of, entry, part, how, batch)
    for scale in ({"compute": more}, {"bandwidth": more}, {"overhead": less}):
        assert all(
            a <= b * (1 + 1e-12) for a, b in zip(times(of, entry, part, how, batch, **scale), plain, strict=True)
        )


@settings(deadline=None, max_examples=100)
@given(names, parts, powers, powers, st.integers(1, 128), st.integers(0, 3))
def test_a_larger_batch_is_a_longer_step_and_more_tokens_a_second(
    name: str, part: str, tp: int, dp: int, batch: int, drafts: int
) -> None:
    of = SHAPES[name]
    machine, how = machine_of(CATALOG.accelerator(part), part, of.family, of.weights, Ledger()), layout(of, tp, dp)
    small, large = (step_seconds(of, machine, how, size, drafts) for size in (batch, batch + 1))
    assert small < large
    assert batch / small <= (batch + 1) / large * (1 + 1e-9), "a sequence more never costs more than the first ones did"


@given(names, st.integers(0, 200_000), st.integers(0, 200_000))
def test_kv_bytes_add_up(name: str, one: int, other: int) -> None:
    """Of a sequence twice as long at most twice as many; the sum over the groups is the whole; beyond every window linear."""
    of = SHAPES[name]
    assert of.kv_bytes(one + other) <= of.kv_bytes(one) + of.kv_bytes(other) + 1e-6
    assert of.kv_bytes(min(one, other)) <= of.kv_bytes(max(one, other))
    windows = max((g.window_tokens for p in of.parts for g in p.kv), default=0)
    if one >= windows:
        slope = sum(g.bytes_per_token for p in of.parts for g in p.kv if g.kind != "window")
        assert of.kv_bytes(one + other) - of.kv_bytes(one) == pytest.approx(slope * other, rel=1e-6, abs=1e-3)


@given(names, powers, powers)
def test_weights_of_a_group_are_the_model_and_its_copies(name: str, tp: int, dp: int) -> None:
    """Experts once over the group; the rest once for each data-parallel rank, and what belongs to no head once for each accelerator."""
    of = SHAPES[name]
    how = layout(of, tp, dp)
    held = weights_of(of, how, drafting=False)
    assert held.experts * how.accelerators == pytest.approx(of.expert_bytes)
    once = of.dense_bytes + of.embedding_bytes
    assert held.dense * how.accelerators == pytest.approx(how.dp * (once + (how.tp - 1) * of.replicated_bytes))


@settings(deadline=None, max_examples=100)
@given(names, parts, powers, powers, st.floats(0.5, 1.0), st.floats(0.0, 0.4), st.integers(256, 16_384))
def test_a_pool_grows_with_memory_by_exactly_that(
    name: str, part: str, tp: int, dp: int, share: float, more: float, chunk: int
) -> None:
    of = SHAPES[name]
    machine, how = machine_of(CATALOG.accelerator(part), part, of.family, of.weights, Ledger()), layout(of, tp, dp)
    try:
        small = pool_bytes(of, machine, how, share, chunk, False, "here")
    except UsageError:
        held = weights_of(of, how, drafting=False).total
        assert held + machine.runtime_bytes + activation_bytes(of, how, chunk) >= share * machine.memory_bytes
        return
    large = pool_bytes(
        of, replace(machine, memory_bytes=machine.memory_bytes * (1 + more)), how, share, chunk, False, "here"
    )
    heads = min(p.kv_heads for p in of.parts)
    assert large - small == pytest.approx(machine.memory_bytes * more * share * min(how.tp, heads), rel=1e-6, abs=1.0)


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from(["bf16", "fp8", "memory", "bandwidth", "scale_up", "scale_up_domain", "tdp"]),
    st.sampled_from(["hgx-h200", "gb300-nvl72", "dgx-b200"]),
    names,
)
def test_an_unknown_cell_is_refused_by_its_name_or_not_needed(key: str, system: str, name: str) -> None:
    entry = CATALOG.system(system)
    blind = replace(
        entry,
        accelerator=replace(
            entry.accelerator, **{key: Cell(unit=getattr(entry.accelerator, key).unit, mark="unknown")}
        ),
    )
    try:
        deployment = CATALOG.deployment(system, name)
    except UsageError:
        return
    wanted = f"accelerator.{entry.accelerator_name}.{key}"
    whole = compile_cluster(entry, CATALOG.model(name), deployment, name=name)
    if (
        key == "fp8"
        and system == "hgx-h200"
        and SHAPES[name].weights == "mxfp4"
        and any(part.index_flops for part in SHAPES[name].parts)
    ):
        slower = compile_cluster(blind, CATALOG.model(name), deployment, name=name).spec.workers[0].costs
        assert slower.prefill_context_s > whole.spec.workers[0].costs.prefill_context_s, (
            "an indexer without 8-bit arithmetic takes the other"
        )
    elif wanted in {constant.name for constant in whole.constants}:
        with pytest.raises(UsageError, match=wanted.replace(".", r"\.")):
            compile_cluster(blind, CATALOG.model(name), deployment, name=name)
    else:
        assert compile_cluster(blind, CATALOG.model(name), deployment, name=name).spec == whole.spec


@settings(deadline=None, max_examples=40)
@given(
    names,
    st.sampled_from(["hgx-h200", "gb300-nvl72", "dgx-b200", "mi355x-node"]),
    st.floats(0.7, 1.3),
    st.floats(0.7, 1.3),
)
def test_no_number_of_a_cluster_is_ever_nan_negative_or_endless(
    name: str, system: str, compute: float, overhead: float
) -> None:
    try:
        deployment = CATALOG.deployment(system, name)
    except UsageError:
        return
    spec = compile_cluster(
        CATALOG.system(system), CATALOG.model(name), deployment, Scale(compute=compute, overhead=overhead), name=name
    ).spec
    for worker in spec.workers:
        costs, watts = worker.costs, worker.power
        numbers = [
            *costs.step_s,
            costs.per_kv_token_s,
            costs.prefill_token_s,
            costs.prefill_context_s,
            costs.prefill_start_s,
            costs.chunk_start_s,
            worker.kv_pool_bytes,
        ]
        numbers += [watts.idle_w, watts.decode_w, watts.prefill_w]
        assert all(math.isfinite(number) and number >= 0 for number in numbers)
        assert watts.idle_w < watts.decode_w

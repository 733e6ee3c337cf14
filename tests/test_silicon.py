"""Step costs out of tables of kernels: small tables of the same layout, made here from known formulas, give those formulas back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from msgspec.structs import replace

from openagentperf.errors import UsageError
from openagentperf.sim import silicon
from openagentperf.sim.catalog import Catalog
from openagentperf.sim.deployment import Compiled, Deployment, PoolPlan, Scale, compile_cluster
from openagentperf.sim.entries import Model, SystemEntry
from openagentperf.sim.silicontables import Tables, decode_fit, prefill_fit, seconds

DEEP = "deepseek-v4-pro"
LAYERS, CSA, HCA = 61, 30, 31
PLAIN = Scale()


def table(
    root: Path, system: str, folder: str, name: str, rows: Sequence[dict[str, Any]], engine: str = "trtllm/1.3.0"
) -> None:
    place = root / "data" / system / folder / engine
    place.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows).write_parquet(place / f"{name}_perf.parquet")


def attention(
    latency: Callable[[int, int, int], float], isl: Sequence[int], batch: Sequence[int]
) -> list[dict[str, Any]]:
    """Rows of a module: latency in ms of (batch, new tokens, tokens before)."""
    return [
        {"model": "vendor/DeepSeek-V4-Pro-FP8", "num_heads": 128, "gemm_type": "fp8_block", "batch_size": b, "isl": i, "step": s,
         "latency": latency(b, i, s)}
        for b, i, s in product(batch, isl, (1024, 2048, 4096, 16_384, 65_536))
    ]  # fmt: skip


def kernels(root: Path, system: str = "gb300", *, ep: int = 8, without: str = "") -> Path:
    """Decode attention 0.1 ms + 1 us a sequence + 1e-6 ms a token of context; prefill 0.5 us a token + 1e-8 ms a token and token of
    context; experts 0.05 ms + 0.1 us a token; a product 1e-12 ms a multiplication; hyper-connections 0.01 ms each side."""
    made: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for kind in ("csa", "hca"):
        made["sparse_attention", f"dsv4_{kind}_generation_module"] = attention(
            lambda b, _, s: 0.1 + 1e-3 * b + 1e-6 * b * s, (1,), (1, 8, 64, 512)
        )
        made["sparse_attention", f"dsv4_{kind}_context_module"] = attention(
            lambda _, i, s: i * (5e-4 + 1e-8 * (s + i / 2)), (1024, 4096, 8192), (1,)
        )
    made["moe", "moe"] = [
        {"moe_dtype": "w4a8_mxfp4_mxfp8", "hidden_size": 7168, "inter_size": 3072, "topk": 6, "num_experts": 384, "moe_tp_size": 1,
         "moe_ep_size": ep, "distribution": "power_law_1.01", "num_tokens": t, "latency": 0.05 + 1e-4 * t}
        for t in (1, 64, 1024, 65_536)
    ]  # fmt: skip
    made["gemm", "gemm"] = [
        {"gemm_dtype": d, "m": m, "n": n, "k": k, "latency": 1e-12 * m * n * k}
        for d, m, n, k in product(("fp8_block", "bfloat16"), (1, 1024, 8192), (384, 3072, 6144, 7168, 65_536), (3072, 7168))
    ]  # fmt: skip
    made["mhc", "mhc_module"] = [
        {"op_name": side, "hidden_size": 7168, "num_tokens": t, "latency": 0.01}
        for side in ("pre", "post")
        for t in (1, 65_536)
    ]
    for (folder, name), rows in made.items():
        if name != without:
            table(root, system, folder, name, rows)
    return root


def parts(system: str = "gb300-nvl72", *, drafts: int = 0) -> tuple[SystemEntry, Model, Deployment, Compiled]:
    catalog = Catalog.load()
    deployment = Deployment(
        pools=(PoolPlan(role="aggregated", groups=1, tp=1, dp=8, ep=8, max_batch=64, chunk_tokens=8192),),
        draft_tokens=drafts,
    )
    entries = catalog.system(system), catalog.model(DEEP)
    return *entries, deployment, compile_cluster(*entries, deployment, name=DEEP)


def measured(root: Path, *, drafts: int = 0, scale: Scale = PLAIN) -> Compiled:
    system, model, deployment, compiled = parts(drafts=drafts)
    return silicon.measured(compiled, system, model, deployment, Tables.of(str(root), "gb300"), DEEP, scale)


PRODUCTS = 61 * 32 * 7168 * (6144 + 3072 + 384) + 32 * 129_280 * 7168
KERNELS_S = 1e-3 * (61 * (0.1 + 0.032) + 61 * (0.05 + 0.0256) + 1e-12 * PRODUCTS + 61 * 0.02)
"""Of a decode step of 32 sequences."""


def test_a_step_is_the_sum_of_its_kernels(tmp_path: Path):
    """At 32 sequences, with 8 ranks: attention 61 x (0.1 + 0.032), experts of 256 tokens 61 x (0.05 + 0.0256), shared expert and router
    61 x 32 x 7168 x (6144 + 3072 + 384) x 1e-12, vocabulary 32 x 129,280 x 7,168 x 1e-12, hyper-connections 61 x 0.02, all in ms."""
    compiled = measured(kernels(tmp_path))
    costs = compiled.spec.workers[0].costs
    computed = parts()[3].spec.workers[0].costs
    collectives_s = costs.step_s[32] - KERNELS_S
    assert costs.step_s[0] == 0, "a step that only prefills is all in prefill's kernels"
    assert 0 < collectives_s < computed.step_s[32] / 4, "what is left is the exchange between ranks, as computed"
    assert costs.per_kv_token_s == pytest.approx(61 * 1e-9)
    assert costs.prefill_context_s == pytest.approx(61 * 1e-11)
    tokens = 61 * (5e-4 + 1e-4 * 8 + 0.05 / 8192 + 0.02 / 8192) + 1e-12 * 61 * 7168 * (6144 + 3072 + 384)
    assert costs.prefill_token_s == pytest.approx(tokens * 1e-3, rel=0.1), "the bytes between ranks come on top"
    assert costs.prefill_token_s > tokens * 1e-3
    routed = 61 * (1e-4 * 8 + 0.05 / 8192) * 1e-3
    whole = costs.prefill_token_s + costs.prefill_context_s * 27_000
    assert costs.prefill_spread == pytest.approx(routed / whole), (
        "what all ranks compute together wherever the prompt lies"
    )


def test_what_was_measured_is_marked_and_says_where_it_is_from(tmp_path: Path):
    compiled = measured(kernels(tmp_path))
    mine = [constant for constant in compiled.constants if constant.name.startswith("silicon.")]
    assert {constant.mark for constant in mine} == {"measured"}
    assert all("moe of trtllm 1.3.0" in constant.source for constant in mine)
    assert "measured kernels" in compiled.spec.name
    worker, before = compiled.spec.workers[0], parts()[3].spec.workers[0]
    assert worker.kv_pool_bytes == before.kv_pool_bytes, "memory and power stay as computed"
    assert worker.power == before.power


def test_drafted_tokens_are_more_sequences_and_a_layer_more(tmp_path: Path):
    """Three drafted tokens at 16 sequences: kernels of 64 rows, 64 layers instead of 61."""
    plain = measured(kernels(tmp_path)).spec.workers[0].costs
    drafted = measured(tmp_path, drafts=3).spec.workers[0].costs
    assert drafted.tokens_per_step == pytest.approx(2.49)
    assert drafted.per_kv_token_s == pytest.approx(plain.per_kv_token_s * 4 * 64 / 61)
    assert drafted.step_s[16] == pytest.approx(plain.step_s[64] * 64 / 61, rel=0.02)


@pytest.mark.parametrize(("compute", "times"), [(1.1, 1 / 1.1), (0.9, 1 / 0.9), (2.0, 1 / 1.15), (0.5, 1 / 0.85)])
def test_a_band_moves_measured_kernels_by_no_more_than_their_uncertainty(tmp_path: Path, compute: float, times: float):
    plain = measured(kernels(tmp_path)).spec.workers[0].costs
    moved = measured(tmp_path, scale=Scale(compute=compute)).spec.workers[0].costs
    assert moved.step_s[32] - plain.step_s[32] == pytest.approx(KERNELS_S * (times - 1))
    assert moved.per_kv_token_s == pytest.approx(plain.per_kv_token_s * times)


def test_a_band_moves_what_is_computed_beside_the_kernels(tmp_path: Path):
    """122 exchanges of 10 us twice as long; 32 sequences' bytes between 8 ranks over links of half the speed, beside the same starts; and
    the chunk's launches of a prefill, 61 x 410 us."""
    plain = measured(kernels(tmp_path)).spec.workers[0].costs
    late = measured(tmp_path, scale=Scale(overhead=2.0)).spec.workers[0].costs
    narrow = measured(tmp_path, scale=Scale(bandwidth=0.5)).spec.workers[0].costs
    starts = 122 * 10e-6
    assert late.step_s[32] - plain.step_s[32] == pytest.approx(starts)
    away = 8 * (1 - (7 / 8) ** 6) * 7 / 8
    token_s = 61 * away * 7168 * 3 / (0.7 * 900e9)
    assert narrow.step_s[32] - plain.step_s[32] == pytest.approx(32 * token_s)
    assert narrow.prefill_token_s - plain.prefill_token_s == pytest.approx(token_s)
    assert KERNELS_S + starts + 32 * token_s == pytest.approx(plain.step_s[32]), "and there is nothing else in a step"


def test_a_split_deployment_s_steps_are_longer_than_their_kernels_by_its_factors(tmp_path: Path):
    """8 accelerators prefill and 8 decode; the tables have both."""
    system, model, deployment, _ = parts()
    (pool,) = deployment.pools
    apart = replace(deployment, pools=(replace(pool, role="prefill"), replace(pool, role="decode")))
    compiled = compile_cluster(system, model, apart, name=DEEP)
    tables = Tables.of(str(kernels(tmp_path)), "gb300")
    prefill, decode = (
        w.costs for w in silicon.measured(compiled, system, model, apart, tables, DEEP, PLAIN).spec.workers
    )
    whole = measured(tmp_path).spec.workers[0].costs
    assert decode.step_s[32] == pytest.approx(1.08 * whole.step_s[32])
    assert prefill.prefill_token_s == pytest.approx(1.1 * whole.prefill_token_s)
    assert prefill.chunk_start_s == pytest.approx(1.1 * whole.chunk_start_s)


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("moe", "no mxfp4 experts of 384 x 3072 over 8 accelerators"),
        ("gemm", "no matrix product in fp8"),
        ("mhc_module", "no hyper-connections"),
        ("dsv4_hca_context_module", "no dsv4_hca attention with 128 heads"),
    ],
)
def test_half_a_step_measured_is_refused(tmp_path: Path, without: str, said: str):
    with pytest.raises(UsageError, match=said):
        measured(kernels(tmp_path, without=without))


def test_a_pool_that_the_tables_do_not_cover_stays_as_computed(tmp_path: Path):
    """Experts over 8 ranks are in the tables, over 4 they are not: the decode pool is measured, the prefill pool is not."""
    catalog = Catalog.load()
    system, model = catalog.system("gb300-nvl72"), catalog.model(DEEP)
    deployment = catalog.deployment("gb300-nvl72", DEEP)
    before = compile_cluster(system, model, deployment, name=DEEP)
    after = silicon.measured(before, system, model, deployment, Tables.of(str(kernels(tmp_path)), "gb300"), DEEP, PLAIN)
    changed = {
        new.role: new.costs != old.costs for new, old in zip(after.spec.workers, before.spec.workers, strict=True)
    }
    assert changed == {"prefill": False, "decode": True}
    assert any("prefill" in note and "computed" in note for note in after.notes)


def test_the_newest_version_that_has_the_rows_is_taken(tmp_path: Path):
    row = {"gemm_dtype": "bfloat16", "m": 1, "n": 64, "k": 64}
    for version, latency in (("1.10.0", 3.0), ("1.9.0", 2.0), ("1.2.0", 1.0)):
        table(tmp_path, "gb300", "gemm", "gemm", [row | {"latency": latency}], f"trtllm/{version}")
    tables = Tables.of(str(tmp_path), "gb300")
    found = tables.rows("gemm", "gemm", lambda frame: frame)
    assert found is not None
    assert found["latency"].to_list() == [3.0]
    assert str(tables.used["gemm"]) == "trtllm 1.10.0"


def test_without_tables_a_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UsageError, match=r"has no kernels of gb300, it has h200_sxm"):
        Tables.of(str(kernels(tmp_path, "h200_sxm")), "gb300")
    with pytest.raises(UsageError, match=r"is no folder"):
        Tables.of(str(tmp_path / "nothing"), "gb300")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"aiconfigurator is not installed here.*pip install aiconfigurator"):
        Tables.of("aiconfigurator", "gb300")


def test_a_file_that_is_no_table_is_named(tmp_path: Path):
    kernels(tmp_path)
    broken = tmp_path / "data" / "gb300" / "moe" / "trtllm" / "1.3.0" / "moe_perf.parquet"
    broken.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(UsageError, match=r"moe_perf\.parquet: is no Parquet table"):
        measured(tmp_path)


def test_one_row_twice_its_neighbours_moves_little():
    """Of 5 x 4 rows one is doubled: the slope and the base stay."""
    rows = attention(lambda b, _, s: 0.1 + 1e-6 * b * s, (1,), (8, 16, 32, 64))
    rows[7]["latency"] *= 2
    fit = decode_fit(pl.DataFrame(rows))
    assert fit is not None
    assert fit.slope_s == pytest.approx(1e-9, rel=0.01)
    assert fit.base(24) == pytest.approx(1e-4, rel=0.01)
    assert fit.base(128) == pytest.approx(2e-4, rel=0.01), "above the largest batch in proportion"


def test_sparse_attention_is_read_where_it_selects_all_it_may():
    """Up to 4,096 tokens of context it grows by 1 us a token and sequence, beyond by 10 ns, with a batch of 64 whose rows end there."""

    def latency(b: int, _: int, s: int) -> float:
        return 0.1 + b * (1e-6 * min(s, 4096) + 1e-8 * max(0, s - 4096))

    rows = [row for row in attention(latency, (1,), (8, 64)) if row["batch_size"] == 8 or row["step"] <= 4096]
    fit = decode_fit(pl.DataFrame(rows), full_tokens=4096)
    assert fit is not None
    assert fit.slope_s == pytest.approx(1e-11)
    for batch in (8, 64):
        assert fit.base(batch) + fit.slope_s * batch * 30_000 == pytest.approx(latency(batch, 1, 30_000) * 1e-3)


def test_too_few_rows_are_no_fit():
    row = {"batch_size": 1, "isl": 2048, "step": 2048, "latency": 1.0}
    assert decode_fit(pl.DataFrame([row])) is None
    assert prefill_fit(pl.DataFrame([row])) is None


def test_a_smaller_shape_is_never_slower_than_a_larger_one():
    rows = [(1024, 0.3), (1536, 0.8), (3072, 0.6)]
    timed = seconds(pl.DataFrame([{"num_tokens": t, "latency": ms} for t, ms in rows]), "num_tokens")
    assert [timed(t) for t in (1024, 1536, 3072, 6144)] == pytest.approx([0.3e-3, 0.6e-3, 0.6e-3, 1.2e-3])

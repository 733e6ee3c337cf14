"""Deployments: the disclosed ones, the rule for all others, refusals, and what comes out as a simulated cluster."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from openagentperf.errors import UsageError
from openagentperf.sim.catalog import Catalog
from openagentperf.sim.deployment import Compiled, Deployment, PoolPlan, Scale, compile_cluster, describe

CATALOG = Catalog.load()
V4 = "deepseek-v4-pro"
PLAIN = Scale()


def compiled(system: str, model: str = V4, name: str = "default", scale: Scale = PLAIN, **changes: object) -> Compiled:
    deployment = replace(CATALOG.deployment(system, model, name), **changes)
    return compile_cluster(CATALOG.system(system), CATALOG.model(model), deployment, scale, name=model)


def test_the_disclosed_gb300_configuration() -> None:
    """24 GPUs prefill as 6 x DEP4, 8 decode as DEP8, at most 192 sequences a rank, FP8 KV, acceptance 2.49, affinity."""
    found = compiled("gb300-nvl72")
    spec = found.spec
    prefill, decode = spec.workers
    assert (prefill.role, prefill.workers, decode.role, decode.workers) == ("prefill", 24, "decode", 8)
    assert (spec.accelerators, spec.routing, spec.max_model_len) == (32, "affinity", 131_072)
    assert (decode.max_batch, len(decode.costs.step_s), decode.costs.tokens_per_step) == (192, 193, 2.49)
    # 0.9 x 298.0 = 268.2; less 205.5 + 25.5 + 3.9 of weights, 4.2 of runtime, 4.4 of activations (8,192 tokens)
    assert prefill.kv_pool_bytes / 1e9 == pytest.approx(24.7, abs=1.0)
    assert decode.kv_pool_bytes / 1e9 == pytest.approx(129.2, abs=2.0)  # 102.7 less: whole experts spread over 8
    assert sum(g.bytes_per_token for g in prefill.kv if g.kind != "window") == pytest.approx(5_511, abs=1)
    assert spec.transfer_bytes_per_s == pytest.approx(0.7 * 900e9)
    assert (found.system.accelerators, found.system.hosts, found.system.racks) == (32, 8, pytest.approx(32 / 72))
    assert {(p.name, p.accelerators) for p in found.system.pools} == {("prefill", 24), ("decode", 8)}
    assert found.system.rated_accelerator_w == 1_400
    assert spec.name == "gb300-nvl72, deepseek-v4-pro, 24 prefill (6 x DEP4) + 8 decode (1 x DEP8)"


def test_the_h200_pool_holds_one_long_context_and_little_more() -> None:
    """0.91 x 151.4 = 137.8; less 102.7 + 25.5 + 2.1 of weights, 4.2 of runtime, 2.2 of activations (4,096 tokens): 1 GB a rank."""
    (worker,) = compiled("hgx-h200").spec.workers
    assert (worker.role, worker.workers, worker.accelerators_per_worker) == ("aggregated", 8, 1)
    one = 131_072 * 5_511.4 + 4.56e6
    assert one < worker.kv_pool_bytes < 2 * one
    with pytest.raises(UsageError, match=r"one sequence of 131,072 tokens needs 0\.73 GB|are missing"):
        compiled("hgx-h200", memory_share=0.90)
    (whole,) = compiled("hgx-h200", name="tp8").spec.workers
    assert (whole.workers, whole.accelerators_per_worker) == (1, 8)
    assert whole.kv_pool_bytes / 1e9 == pytest.approx(21.5, abs=3.0)


def test_nothing_of_an_agentperf_result_is_in_the_constants() -> None:
    for system in ("gb300-nvl72", "hgx-h200"):
        for constant in compiled(system).constants:
            assert constant.mark != "calibrated"
            assert "AgentPerf" not in constant.source


RULE = [
    # system, model, what the rule makes of it
    ("gb200-nvl72", V4, "56 prefill (7 x DEP8) + 16 decode (2 x DEP8)"),      # DEP4: 205 + 26 GB do not fit in 179
    ("dgx-b200", V4, "8 aggregated (1 x DEP8)"),                              # 8 accelerators: no split
    ("dgx-b300", "gpt-oss-120b", "8 aggregated (8 x 1)"),                     # 65 GB fit into one
    ("gb300-nvl72", "llama-3.3-70b", "54 prefill (54 x 1) + 18 decode (18 x 1)"),
    ("hgx-h200", "llama-3.3-70b", "8 aggregated (4 x TP2)"),                  # 141 GB in bf16
    ("hgx-h100", "qwen3-32b", "8 aggregated (4 x TP2)"),                      # 66 of 77 GB leave less than a fifth
    ("hgx-h200", "qwen3-coder-480b", "8 aggregated (1 x TP8)"),               # 480 GB in fp8, as its entry serves it
]  # fmt: skip


@pytest.mark.parametrize(("system", "model", "layout"), RULE)
def test_the_default_deployment_follows_the_rule(system: str, model: str, layout: str) -> None:
    deployment = CATALOG.deployment(system, model)
    assert describe(deployment) == layout
    assert "by the rule" in deployment.source
    assert deployment.max_model_len == min(131_072, int(CATALOG.model(model).context.value or 0))
    assert compiled(system, model).spec.accelerators <= (CATALOG.system(system).accelerators.value or 0)


def test_speculation_needs_a_draft_layer_and_a_published_acceptance() -> None:
    assert CATALOG.deployment("dgx-b200", V4).draft_tokens == 3
    assert CATALOG.deployment("dgx-b200", "deepseek-v3.2").draft_tokens == 0
    with pytest.raises(UsageError, match=r"model\.deepseek-v3\.2\.acceptance\.3 \(tokens a step\)"):
        compiled("dgx-b200", "deepseek-v3.2", draft_tokens=3)
    with pytest.raises(UsageError, match="has no draft layer"):
        compiled("dgx-b200", "kimi-k2.5", draft_tokens=3)


def test_acceptance_by_draft_length_says_how_steps_differ() -> None:
    """1.79, 2.27, 2.49: the drafted tokens are kept with .79, .48, .22, so the mean square is 1 + 3 x .79 + 5 x .48 + 7 x .22 = 7.31. With
    the lengths of two drafts left out, the second and third share .70: 1 + 3 x .79 + 6 x .70 = 7.57."""
    costs = compiled("gb300-nvl72").spec.workers[1].costs
    assert costs.tokens_per_step_spread == pytest.approx((7.31 - 2.49**2) ** 0.5)
    assert compiled("gb300-nvl72", draft_tokens=0).spec.workers[1].costs.tokens_per_step_spread == 0
    model = CATALOG.model(V4)
    fewer = replace(model, acceptance={length: model.acceptance[length] for length in ("1", "3")})
    system, deployment = CATALOG.system("gb300-nvl72"), CATALOG.deployment("gb300-nvl72", V4)
    found = compile_cluster(system, fewer, deployment, name=V4)
    assert found.spec.workers[1].costs.tokens_per_step_spread == pytest.approx((7.57 - 2.49**2) ** 0.5)
    assert {f"model.{V4}.acceptance.{j}" for j in (1, 3)} < {c.name for c in found.constants}


def test_drafting_makes_steps_longer_and_each_gives_more() -> None:
    with_, without = (
        compiled("gb300-nvl72").spec.workers[1].costs,
        compiled("gb300-nvl72", draft_tokens=0).spec.workers[1].costs,
    )
    assert (with_.tokens_per_step, without.tokens_per_step) == (2.49, 1.0)
    assert all(a > b for a, b in zip(with_.step_s[1:], without.step_s[1:], strict=True))
    assert with_.step_s[4] / 2.49 < without.step_s[4]  # decisive where few decode
    assert with_.step_s[192] / 2.49 > 0.8 * without.step_s[192]  # neutral where arithmetic binds


REFUSED = [
    ({"pools": (PoolPlan(role="prefill", groups=1, dp=8, ep=8),)}, "either all aggregated, or some prefill and some decode"),
    ({"pools": (PoolPlan(role="aggregated", groups=10, dp=8, ep=8),)}, "takes 80 accelerators, the system has 72"),
    ({"pools": (PoolPlan(role="aggregated", groups=1, dp=8, ep=4),)}, "ep is 4 in a group of 8 accelerators"),
    ({"pools": (PoolPlan(role="aggregated", groups=1, dp=2, ep=2),)}, "GB an accelerator are missing: spread the model over more than 2"),
    ({"max_model_len": 2_000_000}, "DeepSeek V4 Pro reads 1,048,576 tokens at most"),
    ({"weights": "fp7"}, "`fp7` is no precision of weights"),
    ({"weights": "nvfp4", "kv": "int2"}, "entry_bytes.int2"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_what_cannot_be_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        compiled("gb300-nvl72", **changes)
    assert words in str(caught.value)


def test_a_host_tier_has_the_link_of_its_accelerators() -> None:
    workers = compiled("gb300-nvl72", host_cache=200.0).spec.workers
    assert [(w.host_cache_bytes, w.host_bytes_per_s) for w in workers] == [(200e9, 450e9)] * 2
    assert compiled("hgx-h200", name="tp8", host_cache=100.0).spec.workers[0].host_cache_bytes == 800e9


def test_the_factors_of_a_band_move_what_they_say() -> None:
    plain = compiled("hgx-h200").spec.workers[0]
    assert (
        compiled("hgx-h200", scale=Scale(compute=1.2)).spec.workers[0].costs.prefill_token_s
        < plain.costs.prefill_token_s
    )
    assert compiled("hgx-h200", scale=Scale(bandwidth=1.1)).spec.workers[0].costs.step_s[1] < plain.costs.step_s[1]
    assert (
        compiled("hgx-h200", scale=Scale(overhead=2.0)).spec.workers[0].costs.chunk_start_s
        == 2 * plain.costs.chunk_start_s
    )
    assert compiled("hgx-h200", scale=Scale(power=0.85)).spec.workers[0].power.idle_w == pytest.approx(
        0.85 * plain.power.idle_w
    )
    assert compiled("hgx-h200", scale=Scale(acceptance=0.5)).spec.workers[0].costs.tokens_per_step == pytest.approx(
        1 + 1.49 / 2
    )


FEW = """[accelerator.gb300]
scale_up_domain = { value = 16, unit = "accelerators", mark = "measured", source = "our racks", date = "2026-11" }
"""
DARK = (
    FEW
    + """scale_out = { unit = "GB/s", mark = "unknown" }
"""
)


def test_kv_between_pools_beyond_the_domain_goes_over_scale_out_links(tmp_path: Path) -> None:
    """32 accelerators, domains of 16: 0.7 x 100 GB/s instead of 0.7 x 900; and no link that nobody knows the speed of."""
    deployment = CATALOG.deployment("gb300-nvl72", V4)
    file = tmp_path / "mine.toml"

    def made(text: str) -> Compiled:
        file.write_text(text)
        catalog = Catalog.load([file])
        return compile_cluster(catalog.system("gb300-nvl72"), catalog.model(V4), deployment, name=V4)

    found = made(FEW)
    assert found.spec.transfer_bytes_per_s == pytest.approx(0.7 * 100e9)
    assert "accelerator.gb300.scale_out" in {c.name for c in found.constants}
    assert "accelerator.gb300.scale_out" not in {c.name for c in compiled("gb300-nvl72").constants}
    with pytest.raises(UsageError, match=r"accelerator\.gb300\.scale_out"):
        made(DARK)


def test_serving_with_split_roles_makes_steps_longer_than_their_kernels() -> None:
    """aiconfigurator's own corrections, which its static tables leave out; where roles are not split it has none."""
    plain, apart = compiled("gb300-nvl72", prefill_slowdown=1.0, decode_slowdown=1.0), compiled("gb300-nvl72")
    before, after = ([w.costs for w in c.spec.workers] for c in (plain, apart))
    assert after[1].step_s[192] == pytest.approx(1.08 * before[1].step_s[192])
    assert after[1].per_kv_token_s == pytest.approx(1.08 * before[1].per_kv_token_s)
    assert after[0].prefill_token_s == pytest.approx(1.1 * before[0].prefill_token_s)
    assert after[0].prefill_context_s == pytest.approx(1.1 * before[0].prefill_context_s)
    assert after[0].chunk_start_s == pytest.approx(1.1 * before[0].chunk_start_s)
    told = {c.name: (c.value, c.mark, c.uncertainty) for c in apart.constants}
    assert told["deployment.decode_slowdown"] == (1.08, "assumed", 0.1)
    assert compiled("hgx-h200") == compiled("hgx-h200", prefill_slowdown=2.0, decode_slowdown=2.0)


def test_precisions_are_the_deployment_s_or_what_the_entry_serves() -> None:
    """Qwen3-Coder is released in bf16 and served in fp8; an index has the KV's precision unless it is said."""
    coder, v4 = CATALOG.model("qwen3-coder-480b"), CATALOG.model(V4)
    deployment = CATALOG.deployment("gb300-nvl72", V4)
    assert deployment.precisions(coder) == ("fp8", "fp8", "fp8", "fp8")
    assert replace(deployment, index="fp4").precisions(v4) == ("mxfp4", "fp8", "fp8", "fp4")
    assert replace(deployment, weights="nvfp4", dense_weights="bf16").precisions(v4)[:2] == ("nvfp4", "bf16")


def test_every_constant_that_was_used_is_listed_once_with_its_source() -> None:
    constants = compiled("gb300-nvl72").constants
    names = [c.name for c in constants]
    assert names == sorted(set(names))
    assert {
        "accelerator.gb300.memory", "accelerator.gb300.tdp", "accelerator.gb300.generation.kernels.mxfp4.mfu.compressed",
        "model.deepseek-v4-pro.acceptance.3", "model.deepseek-v4-pro.attention.csa.entry_bytes.fp8", "system.gb300-nvl72.rack_power",
    } <= set(names)  # fmt: skip
    assert all(c.source and c.unit for c in constants)


def test_a_deployment_is_plain_data() -> None:
    deployment = CATALOG.deployment("gb300-nvl72", V4)
    assert msgspec.convert(msgspec.to_builtins(deployment), Deployment) == deployment

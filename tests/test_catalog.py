"""The catalogue: every number has a source, the shipped entries agree with what is published, files of a user win cell by cell."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from openagentperf.errors import PlanError, UsageError
from openagentperf.sim.catalog import Catalog, cells
from openagentperf.sim.cells import Cell, Ledger, Mark
from openagentperf.sim.deployment import Deployment, PoolPlan, compile_cluster
from openagentperf.sim.entries import (
    TABLE_UNITS,
    UNITS,
    Accelerator,
    Attention,
    Generation,
    Model,
    SystemEntry,
)
from openagentperf.sim.shapes import shape_of

CATALOG = Catalog.load()
ENTRIES = [(kind, name) for kind in ("generation", "accelerator", "model", "system") for name in CATALOG.names(kind)]
WANTED = {
    "accelerator": "h100 h200 b200 b300 gb200 gb300 vera-rubin mi300x mi325x mi355x mi450 tpu-v6e tpu-v7 trainium2 trainium3 gaudi3 "
    "groq-lpu-v1 groq-3-lpu wse-3 sn40l sn50",
    "model": "deepseek-v4-pro deepseek-v4-flash deepseek-v3.2 gpt-oss-120b kimi-k2.5 glm-4.7 glm-5 qwen3-coder-480b minimax-m2 "
    "llama-3.3-70b qwen3-32b",
    "system": "gb300-nvl72 gb200-nvl72 hgx-h200 hgx-h100 dgx-b200 dgx-b300 mi355x-node vera-rubin-nvl144",
}  # fmt: skip


@pytest.mark.parametrize("kind", WANTED)
def test_the_catalogue_has_what_people_ask_about(kind: str) -> None:
    assert set(WANTED[kind].split()) <= set(CATALOG.names(kind))


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_number_has_a_unit_a_source_and_a_date(kind: str, name: str) -> None:
    entry = getattr(CATALOG, kind)(name)
    found = list(cells(entry, name))
    assert found
    for at, key, cell in found:
        assert cell.unit == TABLE_UNITS.get(at.rpartition(".")[2], UNITS.get(key)), f"{at}.{key}"
        assert cell.mark != "calibrated", "nothing that is shipped is fitted to a run"
        if cell.mark == "unknown":
            continue
        assert re.fullmatch(r"20\d\d-\d\d", cell.date), f"{at}.{key}"
        assert len(cell.source) > 5 or cell.source == "aiwiki", f"{at}.{key}: {cell.source}"
        assert "AgentPerf" not in cell.source, "no constant comes from an AgentPerf result"
        if cell.mark == "fact":
            assert cell.uncertainty <= 0.1, f"{at}.{key} is called a fact and may be off by {cell.uncertainty:.0%}"
        if cell.mark == "assumed" and cell.value and key != "accelerators":
            assert cell.uncertainty >= 0.2 or key == "power_error", f"{at}.{key} is assumed and claims to be sure"


@pytest.mark.parametrize("name", CATALOG.names("model"))
def test_the_shapes_add_up_to_the_published_sizes(name: str) -> None:
    """Within 3 % of the parameters that a model card states (rounded), 8 % for the active ones (cards differ about the vocabulary)."""
    model = CATALOG.model(name)
    shape = shape_of(model, name, Ledger(), model.weights, model.dense_weights, "fp8", "fp8")
    total = (
        shape.moe_layers * shape.experts * shape.expert_parameters
        + shape.dense_parameters
        + 2 * shape.vocabulary_parameters
    )
    active = shape.matrix_flops / 2 + shape.vocabulary_parameters
    assert total == pytest.approx(model.total_parameters.value, rel=0.03)
    assert active == pytest.approx(model.active_parameters.value, rel=0.08 if shape.moe_layers else 0.03)


KV = [
    # model, precision, bytes a token, fixed bytes: 61 layers x 788 B = 48,068 and so on (engines' own figures)
    ("deepseek-v4-pro", "bf16", 9_848, 7_995_392),   # 30 x 320 + 31 x 8; window 61 x 128 x 1,024
    ("deepseek-v4-pro", "fp8", 5_511, 4_559_872),    # 30 x (584 + 132) / 4 + 31 x 584 / 128; 61 x 128 x 584
    ("deepseek-v4-flash", "fp8", 3_850, 3_214_336),  # 21 x 179 + 20 x 4.5625; 43 x 128 x 584
    ("deepseek-v3.2", "bf16", 85_888, 0),            # 61 x (1,152 + 256)
    ("deepseek-v3.2", "fp8", 48_068, 0),             # 61 x (656 + 132)
    ("glm-5", "fp8", 61_464, 0),                     # 78 x 788
    ("kimi-k2.5", "bf16", 70_272, 0),                # 61 x 1,152
    ("kimi-k2.5", "fp8", 35_136, 0),                 # 61 x 576
    ("glm-4.7", "fp8", 188_416, 0),                  # 92 x 2 x 8 x 128
    ("qwen3-coder-480b", "bf16", 253_952, 0),        # 62 x 2 x 8 x 128 x 2
    ("minimax-m2", "fp8", 126_976, 0),               # 62 x 2 x 8 x 128
    ("gpt-oss-120b", "bf16", 36_864, 4_718_592),     # 18 x 2 x 8 x 64 x 2; as much again x 128
    ("llama-3.3-70b", "bf16", 327_680, 0),           # 80 x 2 x 8 x 128 x 2
    ("qwen3-32b", "fp8", 131_072, 0),                # 64 x 2 x 8 x 128
]  # fmt: skip


@pytest.mark.parametrize(("name", "precision", "per_token", "fixed"), KV)
def test_kv_bytes(name: str, precision: str, per_token: int, fixed: int) -> None:
    model = CATALOG.model(name)
    shape = shape_of(model, name, Ledger(), model.weights, model.dense_weights, precision, precision)
    assert shape.kv_bytes(1_000_000) - shape.kv_bytes(999_000) == pytest.approx(1_000 * per_token, rel=0.001)
    assert shape.kv_bytes(1_000_000) - 1_000_000 * per_token == pytest.approx(fixed, abs=per_token * 1_000)


def test_kv_of_a_million_tokens_is_the_figure_that_vllm_prints() -> None:
    """9.62 GiB for DeepSeek V4 Pro in bf16."""
    shape = shape_of(CATALOG.model("deepseek-v4-pro"), "x", Ledger(), "mxfp4", "fp8", "bf16", "bf16")
    assert shape.kv_bytes(1_048_576) / 2**30 == pytest.approx(9.62, abs=0.01)


def test_a_cell_has_a_value_and_a_source_or_is_unknown() -> None:
    assert Cell(unit="W", mark="unknown").value is None
    for wrong in (
        {"unit": "W", "mark": "fact", "source": "x", "date": "2026-11"},
        {"unit": "W", "mark": "unknown", "value": 3.0},
        {"unit": "W", "mark": "fact", "value": 3.0},
        {"unit": "W", "mark": "fact", "value": 3.0, "source": "x"},
    ):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, Cell)


MINE = """
[accelerator.h200]
tdp = { value = 600, unit = "W", mark = "measured", source = "our power cap", date = "2026-11" }
"""


def test_a_user_s_cell_wins_and_the_others_stay(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(MINE)
    mine = Catalog.load([tmp_path / "mine.toml"])
    part, shipped = mine.accelerator("h200"), CATALOG.accelerator("h200")
    assert (part.tdp.value, part.tdp.mark, part.tdp.source) == (600, "measured", "our power cap")
    assert part.bandwidth == shipped.bandwidth
    assert mine.system("hgx-h200").accelerator.tdp.value == 600
    assert mine.digest != CATALOG.digest == Catalog.load().digest


def test_the_last_file_wins(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(MINE)
    (tmp_path / "b.toml").write_text(MINE.replace("600", "500"))
    assert Catalog.load([tmp_path / "a.toml", tmp_path / "b.toml"]).accelerator("h200").tdp.value == 500


LIKE = """
[accelerator.tpu-v7]
generation = "mine"
tdp = { value = 1000, unit = "W", mark = "assumed", source = "guess", date = "2026-11", uncertainty = 0.3 }
[generation.mine]
title = "Ironwood as if it were Blackwell"
like = "blackwell"
memory_efficiency = { value = 0.6, unit = "share", mark = "measured", source = "our microbenchmark", date = "2026-11", uncertainty = 0.1 }
"""


def test_hardware_that_is_like_another_is_an_assumption_throughout(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(LIKE)
    mine = Catalog.load([tmp_path / "mine.toml"])
    taken = mine.generation("mine")
    assert taken.memory_efficiency.value == 0.6
    assert taken.memory_efficiency.mark == "measured"
    mfu, theirs = taken.kernels["fp8"].mfu["dense"], CATALOG.generation("blackwell").kernels["fp8"].mfu["dense"]
    assert (mfu.value, mfu.mark) == (theirs.value, "assumed")
    assert mfu.uncertainty >= 0.4
    assert mfu.source.startswith("as blackwell: ")
    with pytest.raises(UsageError, match="knows no efficiency of Google TPU v7"):
        CATALOG.deployment("tpu-v7-64", "qwen3-32b")
    deployment = mine.deployment("tpu-v7-64", "qwen3-32b")
    compiled = compile_cluster(mine.system("tpu-v7-64"), mine.model("qwen3-32b"), deployment, name="qwen3-32b")
    assert {"accelerator.tpu-v7.tdp", "accelerator.tpu-v7.generation.memory_efficiency"} <= {
        c.name for c in compiled.constants
    }


MISTAKES = {
    # text, words of the message
    "[accelerater.x]\n": "use one of: accelerator",
    '[accelerator.h200]\ntdp = { value = 700, unit = "kW", mark = "fact", source = "x", date = "2026-11" }\n':
        "`accelerator.h200.tdp` is in `kW`, `W` was needed",
    '[accelerator.h200]\ntpd = 3\n': "unknown field `tpd` - at `accelerator.h200`",
    '[accelerator.h200]\ntdp = { unit = "W", mark = "fact" }\n': "a cell has a value, or the mark `unknown`",
    '[generation.hopper]\nlike = "hopper"\n': "is like itself",
    '[accelerator.h200]\nbandwidth = { value = 0, unit = "TB/s", mark = "fact", source = "x", date = "2026-11" }\n':
        "`accelerator.h200.bandwidth` is 0 TB/s, more than 0 was needed",
    '[accelerator.h200]\ntdp = { value = -5, unit = "W", mark = "fact", source = "x", date = "2026-11" }\n':
        "`accelerator.h200.tdp` is -5 W, more than 0 was needed",
    '[generation.hopper]\ngaps = { value = 35, unit = "share of TDP", mark = "assumed", source = "x", date = "2026-11" }\n':
        "is 35 share of TDP, a share, 1 at most, was needed",
    '[generation.hopper.kernels.fp8.mfu]\ndense = { value = 0, unit = "share", mark = "assumed", source = "x", date = "2026-11" }\n':
        "is 0 share, more than 0 was needed",
    'accelerator = 5\n': "`accelerator` is 5, a table was needed",
    '[accelerator]\nh200 = 5\n': "`accelerator.h200` is 5, a table was needed",
    '[deployment.hgx-h200]\ndeepseek-v4-pro = 5\n': "`deployment.hgx-h200.deepseek-v4-pro` is 5, a table was needed",
    '[deployment.hgx-h200.deepseek-v4-pro]\ntp8 = 5\n': "`deployment.hgx-h200.deepseek-v4-pro.tp8` is 5, a table was needed",
}  # fmt: skip


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_in_a_user_s_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(PlanError) as caught:
        Catalog.load([tmp_path / "mine.toml"]).system("hgx-h200")
    assert MISTAKES[text] in str(caught.value)
    assert "mine.toml" in str(caught.value)


def test_a_name_that_is_not_there_says_what_is_near() -> None:
    with pytest.raises(UsageError, match="no system `gb300-nvl71`: use one of: gb300-nvl72"):
        CATALOG.system("gb300-nvl71")
    with pytest.raises(UsageError, match="no deployment `tp9`: use one of: tp8"):
        CATALOG.deployment("hgx-h200", "deepseek-v4-pro", "tp9")


def test_what_is_unknown_is_refused_with_the_cell_s_name_and_how_to_add_it() -> None:
    ledger = Ledger()
    assert (
        ledger.read("accelerator.x.memory", Cell(value=1.0, unit="GB", mark="fact", source="x", date="2026-11")) == 1.0
    )
    ledger.read("accelerator.x.tdp", Cell(unit="W", mark="unknown"))
    ledger.read("accelerator.x.bf16", Cell(unit="TFLOP/s", mark="unknown"))
    with pytest.raises(UsageError) as caught:
        ledger.refuse("x with y")
    assert str(caught.value) == (
        "x with y: the catalogue has no value for accelerator.x.bf16 (TFLOP/s), accelerator.x.tdp (W), a simulation needs it: add it in a "
        'file of your own and pass it with --catalog FILE: [accelerator.x] bf16 = { value = ..., unit = "TFLOP/s", mark = "assumed", '
        'source = "...", date = "..." }'
    )
    assert [c.name for c in ledger.constants] == ["accelerator.x.memory"]


HELD = [
    "vera-rubin-nvl144/llama-3.3-70b",
    "helios-mi450/deepseek-v4-pro",
    "trn3-ultra/qwen3-32b",
    "groq-rack/qwen3-32b",
    "cs-3/qwen3-32b",
]


@pytest.mark.parametrize("pair", HELD)
def test_a_system_with_unknown_cells_is_never_simulated(pair: str) -> None:
    system, model = pair.split("/")
    with pytest.raises(UsageError, match=r"--catalog FILE"):
        compile_cluster(CATALOG.system(system), CATALOG.model(model), CATALOG.deployment(system, model), name=model)


def test_the_manual_lists_every_key() -> None:
    page = (Path(__file__).parent.parent / "docs" / "catalog.md").read_text()
    hidden = {
        "note",
        "name",
        "accelerator_name",
        "kernels",
        "acceptance",
        "entry_bytes",
        "index_bytes",
        "layer_start",
        "attention",
    }
    for struct in (Generation, Accelerator, Model, Attention, SystemEntry, Deployment, PoolPlan):
        for key in set(struct.__struct_fields__) - hidden:
            assert re.search(rf"`{key}[.`]", page), f"{struct.__name__}.{key}"
    for mark in get_args(Mark):
        assert f"| `{mark}` |" in page
    for system in CATALOG.names("system"):
        for model in CATALOG.names("model"):
            if CATALOG.written(system, model):
                for deployment in CATALOG.deployments(system, model):
                    assert f"| `{system}` | `{model}` | `{deployment}` |" in page

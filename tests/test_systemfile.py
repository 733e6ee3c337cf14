"""System files and the catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from openagentperf import planfile, systemfile
from openagentperf.errors import PlanError
from openagentperf.planfile import Overrides
from openagentperf.system import Nvml, Price, Prometheus

WHOLE = """
name = "ours"
accelerator = "H200"
hosts = 1
rated_accelerator_w = 700
pue = 1.3
[[pools]]
name = "prefill"
accelerators = 2
[[pools]]
name = "decode"
accelerators = 6
[price]
capex_usd = 300000
years = 4
usd_per_kwh = 0.12
[[meters]]
kind = "nvml"
name = "gpus"
boundary = "accelerator"
[[meters]]
kind = "prometheus"
name = "pdu"
boundary = "node"
url = "http://127.0.0.1:9090"
query = "pdu_watts"
max_gap_s = 15
"""


def test_a_system_file_says_everything(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(WHOLE)
    system = systemfile.load(str(tmp_path / "s.toml"))
    assert system.price == Price(capex_usd=300_000.0, years=4.0, usd_per_kwh=0.12)
    assert [type(meter) for meter in system.meters] == [Nvml, Prometheus]
    plan = planfile.load(None, Overrides(system=str(tmp_path / "s.toml"), accelerators=8))
    assert (plan.system.name, plan.system.accelerators, plan.system.pue) == ("ours", 8, 1.3)
    (tmp_path / "plan.toml").write_bytes(planfile.dump(plan))
    assert planfile.read(tmp_path / "plan.toml") == plan


def test_a_plan_may_name_a_system_and_a_system_file_may_be_a_plan(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text('system = "hgx-h200"\n')
    assert planfile.load(tmp_path / "plan.toml").system.accelerators == 8
    (tmp_path / "other.toml").write_text('[system]\nname = "theirs"\n')
    assert systemfile.load(str(tmp_path / "other.toml")).name == "theirs"


def test_every_catalogue_entry_is_whole_and_says_where_it_is_from() -> None:
    found = systemfile.catalogue()
    assert {"gb300-nvl72", "hgx-h200"} <= found.keys()
    for name, system in found.items():
        systemfile.check(system, name)
        assert system.accelerators
        assert system.rated_accelerator_w
        assert "read 20" in system.source


NVML = '[[meters]]\nkind = "nvml"\nname = "a"\nboundary = "accelerator"\n'
MISTAKES = {
    # text, words
    'name = "x"\naccelerators = 7\n[[pools]]\nname = "p"\naccelerators = 8\n': "accelerators is 7, but the pools hold 8",
    NVML + NVML: "two meters are named `a`",
    "[price]\nyears = 3\n": "neither usd_per_hour nor capex_usd",
    "[price]\nusd_per_hour = 3\ncapex_usd = 4\n": "rented or owned, not both",
    "[price]\nusd_per_hour = -1\n": "Expected `float` >= 0.0 - at `$.system.price.usd_per_hour`",
    'acelerators = 8\n': "use one of: accelerators",
    NVML: "set accelerators (or pools), or name the meter's `devices`",
    NVML.replace("accelerator", "node"): "set hosts, or name the meter's `devices`",
    # Jittered polls lie up to two periods apart: a phase of ten minutes would meet a gap of more than 3 s for certain.
    "accelerators = 8\n" + NVML + "period_s = 2\n": "is polled every 2 s, and max_gap_s is 3 s",
    "pue = 0.9\n": "Expected `float` >= 1.0",
    '[[meters]]\nkind = "nvmi"\nname = "a"\nboundary = "accelerator"\n': "Invalid value 'nvmi'",
    '[[meters]]\nkind = "nvml"\nname = "a"\nboundary = "facility"\n': "Invalid enum value 'facility'",
}  # fmt: skip


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(PlanError) as caught:
        systemfile.load(str(tmp_path / "s.toml"))
    assert MISTAKES[text] in caught.value.sentence()
    with pytest.raises(PlanError):
        planfile.load(None, Overrides(system=str(tmp_path / "s.toml")))


@pytest.mark.parametrize(
    "text", ["accelerators = 8\n" + NVML, NVML + 'devices = ["GPU-1"]\n', NVML + 'basis = "modelled"\n']
)
def test_what_can_be_counted_is_let_through(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(text)
    assert len(systemfile.load(str(tmp_path / "s.toml")).meters) == 1


def test_a_system_that_is_not_there() -> None:
    with pytest.raises(PlanError, match=r"no system `gb300`, .*use one of: gb300-nvl72"):
        systemfile.load("gb300")

"""`openagentperf catalog` on a terminal of 80 columns, and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from openagentperf.cli.main import main
from openagentperf.sim.catalog import Catalog

CATALOG = Catalog.load()
NAMES = [name for kind in ("generation", "accelerator", "model", "system") for name in CATALOG.names(kind)]


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["catalog", *arguments]) == 0
    found = capsys.readouterr()
    assert found.err == ""
    return found.out.splitlines()


def test_the_list_names_every_entry_once_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    shown = lines(capsys, "list")
    for name in NAMES:
        assert sum(line.split()[:1] == [name] for line in shown) == 1, name
    assert max(map(len, shown)) <= 80
    assert shown == lines(capsys, "show")


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_is_shown_in_80_columns_with_its_sources(capsys: pytest.CaptureFixture[str], name: str) -> None:
    shown = lines(capsys, "show", name)
    assert max(map(len, shown)) <= 80
    whole = json.loads("\n".join(lines(capsys, "show", name, "--json")))
    for entry in whole:
        for cell in entry["cells"].values():
            assert (cell["value"] is None) == (cell["mark"] == "unknown")
        assert sum(" unknown " in line or line.endswith(" unknown") for line in shown) >= sum(
            cell["mark"] == "unknown" for cell in entry["cells"].values()
        )


def test_a_number_stands_beside_its_unit_mark_uncertainty_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    shown = lines(capsys, "show", "b200")
    at = next(i for i, line in enumerate(shown) if line.startswith("  bandwidth "))
    assert shown[at].split() == ["bandwidth", "7.7", "TB/s", "fact", "+-4%"]
    assert "aiconfigurator 0.12.0 systems/b200_sxm.yaml (2026-11); NVIDIA also" in shown[at + 1]


def test_a_deployment_is_shown_in_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    shown = "\n".join(lines(capsys, "show", "gb300-nvl72", "--model", "deepseek-v4-pro"))
    for words in (
        "24 prefill (6 x DEP4) + 8 decode (1 x DEP8)",
        "tokens a step      2.49",
        "KV pool",
        "provisioned 1,903 W an accelerator",
        "assumed: ",
    ):
        assert words in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    found = json.loads(
        "\n".join(lines(capsys, "show", "hgx-h200", "--model", "deepseek-v4-pro", "--deployment", "tp8", "--json"))
    )
    assert found["spec"]["workers"][0]["accelerators_per_worker"] == 8.0


def test_a_file_of_one_s_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        '[accelerator.h200]\ntdp = { value = 600, unit = "W", mark = "measured", source = "our cap", date = "2026-11" }\n'
    )
    shown = lines(capsys, "show", "h200", "--catalog", str(mine))
    assert any(line.split() == ["tdp", "600", "W", "measured"] for line in shown)
    deployment = tmp_path / "four.toml"
    deployment.write_text('draft_tokens = 0\n[[pools]]\nrole = "aggregated"\ngroups = 2\ntp = 4\n')
    shown = lines(capsys, "show", "hgx-h200", "--model", "llama-3.3-70b", "--deployment", str(deployment))
    assert shown[0].endswith("8 aggregated (2 x TP4)")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "h20"], "no entry `h20`"),
        (["show", "hgx-h200", "--model", "llama"], "no model `llama`"),
        (["show", "tpu-v7-64", "--model", "qwen3-32b"], "knows no efficiency of Google TPU v7"),
        (["list", "--catalog", "nowhere.toml"], "cannot be read"),
    ],
)
def test_mistakes_are_usage_errors(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert main(["catalog", *arguments]) == 2
    assert words in capsys.readouterr().err

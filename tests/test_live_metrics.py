"""Live figures as series: names with units, escaped labels, nothing that is not known."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf.live import metrics
from openagentperf.live.records import Snapshot
from openagentperf.live.watch import RunWatch
from openagentperf.meters.expositions import samples
from watched import Folder, sample, turn, watt

HOSTILE = 'quote " backslash \\ line\nend \\n {brace} # hash, comma=\u202e\x1b[31m'


def seen(path: Path, **folder: str) -> Snapshot:
    run = Folder(path, **folder)
    run.begin(0, 100.0).close()
    run.judge(0, "pass")
    writer = run.begin(1, 120.0)
    for k in range(4):
        writer.put(turn(123.5 + k / 10, ttft_s=0.2 + k / 10))
    writer.put(turn(124.0, failure="reset"))
    writer.put(sample(125.0, in_flight=3, active=4))
    writer.close()
    meter = run.meters()
    meter.put_all([watt(125.0, 300.0), watt(125.0, 200.0, "gpu1")])
    meter.close()
    return RunWatch(path).poll()


def test_the_page_says_what_the_snapshot_says(tmp_path: Path):
    shot = seen(tmp_path / "run")
    phase = shot.now.phase
    assert phase is not None
    found = {
        (row.name.removeprefix("openagentperf_"), *(v for k, v in row.labels.items() if k != "run")): row.value
        for row in samples(metrics.page([shot]).decode())
    }
    want = {
        ("run_state", "running"): 1, ("run_state", "finished"): 0, ("phase_agents",): 4, ("phase_agents_active",): 4,
        ("phase_agents_waiting",): 1, ("phase_requests_in_flight",): 3, ("phase_turns_measured",): 5, ("phase_turns_wanted",): 50,
        ("phase_turns_failed", "reset"): 1, ("phase_ttft_p50_seconds",): phase.ttft_p50_s, ("phase_cache_hit_ratio",): 0.8,
        ("power_watts", "accelerator", "measured"): 500, ("tier_passing_agents", "easy"): 4, ("phases_judged_total", "easy", "pass"): 1,
        ("phases_judged_total", "easy", "fail"): 0, ("phase_output_tokens_per_second",): phase.output_tokens_per_s,
    }  # fmt: skip
    assert {key: found.get(key) for key in want} == want
    assert ("phase_ttft_p95_seconds",) not in found, "infinite: a failed turn reaches it"
    assert ("tier_failing_agents", "easy") not in found, "no level has failed"


def test_a_run_that_is_over_has_no_open_phase_and_no_power(tmp_path: Path):
    shot = seen(tmp_path / "run")
    over = msgspec.structs.replace(shot, now=msgspec.structs.replace(shot.now, state="finished", power=()))
    names = {row.name for row in samples(metrics.page([over]).decode())}
    assert not [name for name in names if "phase_" in name or "watts" in name]
    assert "openagentperf_tier_passing_agents" in names


def test_hostile_labels_come_back_as_they_were(tmp_path: Path):
    shot = seen(tmp_path / "run", model=HOSTILE, tier="m" * 1_000_000)
    shot = msgspec.structs.replace(shot, about=msgspec.structs.replace(shot.about, name=HOSTILE + "\ud800"))
    page = metrics.page([shot])
    assert len(page) < 100_000, "a name of a megabyte is cut"
    rows = list(samples(page.decode()))
    (info,) = (row for row in rows if row.name == "openagentperf_run_info")
    assert info.labels["model"] == HOSTILE
    assert {row.labels["run"] for row in rows} == {HOSTILE + "?"}, "what is no text becomes a question mark"
    (tier,) = (row for row in rows if row.name == "openagentperf_tier_passing_agents")
    assert tier.labels["tier"] == "m" * 197 + "..."


@given(st.text(alphabet='ab"\\\n{}#, =\x00é', max_size=30))
def test_any_label_reads_back(text: str):
    line = f'name{{label="{metrics._escaped(text)}"}} 1.0'
    assert "\n" not in line
    (row,) = samples(line)
    assert row.labels["label"] == text


def test_several_runs_stand_in_one_family(tmp_path: Path):
    page = metrics.page([seen(tmp_path / "one"), seen(tmp_path / "two")]).decode()
    assert page.count("# TYPE openagentperf_phase_agents gauge") == 1
    assert len(re.findall(r"^openagentperf_phase_agents\{", page, re.MULTILINE)) == 2


def test_names_end_in_their_unit_and_prometheus_finds_no_fault(tmp_path: Path):
    units = {"s": "_seconds", "W": "_watts", "{token}/s": "_per_second"}
    for family in metrics.FAMILIES:
        assert re.fullmatch(r"[a-z0-9_]+", family.name)
        assert family.name.endswith(units.get(family.unit, "")), family
        assert (family.kind == "counter") == family.name.endswith("_total")
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("needs promtool, of Debian's package prometheus")
    told = subprocess.run(
        [tool, "check", "metrics"], input=metrics.page([seen(tmp_path / "run", model=HOSTILE)]), capture_output=True, check=False
    )  # fmt: skip
    assert (told.returncode, told.stdout, told.stderr) == (0, b"", b"")


def test_the_page_of_the_docs_lists_every_series_and_no_other():
    page = (Path(__file__).parent.parent / "docs/dashboard.md").read_text()
    listed = re.findall(r"^\| `openagentperf_(\w+)` \|", page, re.MULTILINE)
    assert listed == [family.name for family in metrics.FAMILIES]


def test_every_family_has_a_sample_in_some_state(tmp_path: Path):
    """A name in the list that nothing ever fills would be a promise."""
    shot = seen(tmp_path / "run")
    tier = msgspec.structs.replace(shot.about.tiers[0], failing=8, agents=4, standing="confirmed")
    phase = msgspec.structs.replace(shot.now.phase, ttft_p95_s=1.0)
    full = Snapshot(
        about=msgspec.structs.replace(shot.about, tiers=(tier,)),
        now=msgspec.structs.replace(shot.now, phase=phase, run_left_s=5.0),
    )
    assert metrics.samples([full]).keys() == {family.name for family in metrics.FAMILIES}

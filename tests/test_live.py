"""A run folder watched while it grows: exact figures of what has come, whatever state the folder is in."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf import planfile, rundir
from openagentperf.live import metrics, story
from openagentperf.live.buckets import STEPS, Buckets
from openagentperf.live.series import KEPT, Series, Values
from openagentperf.live.tail import FrameTail, LedgerTail
from openagentperf.live.watch import QUIET_S, RunWatch
from openagentperf.live.watts import Watts
from openagentperf.records.standing import Standing
from openagentperf.rundir import FrameWriter, LedgerLine
from openagentperf.score.columns import Turns
from openagentperf.score.quantile import quantile
from phases import ns, row
from test_display import result, tier
from watched import METER, Folder, sample, turn, watt

LONG_S = 60.0
"""More time than any read here takes."""


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


# -- equal steps of time -----------------------------------------------------------------------------------------------------


def test_values_fall_into_their_second_and_those_before_the_origin_into_the_first():
    steps = Buckets(ns(10))
    steps.add("a", np.array([ns(9), ns(10.5), ns(12.0), ns(12.9)]), floats(1, 2, 4, 8))
    assert steps.steps == 3
    assert steps.sums("a").tolist() == [3, 0, 12]
    assert steps.sums("never").tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("start_s", "end_s", "want"),
    [
        (0.0, 0.0, [8, 0, 0, 0]),  # no span: all of it at its end
        (0.5, 0.5, [8, 0, 0, 0]),
        (0.0, 1.0, [8, 0, 0, 0]),  # its end is the first instant of the next step, which gets none
        (0.5, 1.5, [4, 4, 0, 0]),
        (0.5, 3.5, [8 / 6, 8 / 3, 8 / 3, 8 / 6]),
        (1.0, 3.0, [0, 4, 4, 0]),
        (-1.0, 1.0, [8, 0, 0, 0]),  # begun before the origin: spread over what lies behind it
    ],
)
def test_a_value_is_spread_evenly_over_its_time(start_s: float, end_s: float, want: list[float]):
    steps = Buckets(0)
    steps.add("reach", np.array([ns(3.9)]))
    steps.spread("a", np.array([ns(start_s)]), np.array([ns(end_s)]), floats(8))
    assert steps.sums("a").tolist() == pytest.approx(want)


@given(
    spans=st.lists(
        st.tuples(st.integers(0, 5_000), st.integers(0, 3_000), st.integers(0, 1000)), min_size=1, max_size=30
    ),
    parts=st.integers(1, 5),
)
def test_nothing_is_lost_however_long_the_phase_and_in_whatever_parts_it_comes(
    spans: list[tuple[int, int, int]], parts: int
):
    """The sum of a column is the sum of what was put in, also after steps were merged, and parts make no difference."""
    starts = np.array([ns(start) for start, _, _ in spans])
    ends = np.array([ns(start + length) for start, length, _ in spans])
    values = floats(*(value for _, _, value in spans))
    whole, cut = Buckets(0), Buckets(0)
    whole.spread("a", starts, ends, values)
    for part in range(parts):
        cut.spread("a", starts[part::parts], ends[part::parts], values[part::parts])
    assert whole.sums("a").sum() == pytest.approx(values.sum())
    assert whole.steps <= STEPS
    assert (whole.step_ns, whole.steps) == (cut.step_ns, cut.steps)
    assert whole.sums("a").tolist() == pytest.approx(cut.sums("a").tolist(), rel=1e-6, abs=1e-6)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 100)), min_size=1, max_size=50))
def test_the_largest_value_of_a_step_survives_merging(values: list[tuple[int, int]]):
    steps = Buckets(0)
    for at, value in values:
        steps.top("a", np.array([ns(at)]), floats(value))
    found = steps.tops("a")
    for step in range(steps.steps):
        inside = [value for at, value in values if ns(at) // steps.step_ns == step]
        assert found[step] == (max(inside) if inside else -math.inf)


# -- exact figures -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.floats(0, 1e6) | st.just(math.inf), max_size=40), max_size=8))
def test_quantiles_are_of_all_values_in_whatever_parts_they_came(parts: list[list[float]]):
    values = Values()
    for part in parts:
        values.put(floats(*part))
    every = [value for part in parts for value in part]
    want = quantile(every, 0.95) if every else None
    assert values.quantile(0.95) == (want if want is None or math.isfinite(want) else None)
    curve = values.curve()
    assert curve.turns == len(every)
    for value, share in curve.points:
        assert share <= sum(v <= value for v in every) / len(every) + 1e-12, (
            "as many are at or below, or more where values are equal"
        )


def test_only_the_latest_values_are_kept_beyond_the_bound():
    values = Values(kept=5000)
    for k in range(0, 12_000, 700):
        values.put(np.arange(k, min(k + 700, 12_000), dtype=np.float64))
    assert sorted(values.all().tolist()) == list(range(7000, 12_000))
    assert values.count == 12_000


def test_a_million_turns_stay_within_bounded_memory():
    series = Series(0, 0)
    turns = Turns.from_rows([row(float(k % 3600), ttft_s=0.1 + k % 7, agent=k % 50) for k in range(2000)])
    for _ in range(500):
        series.add_turns(turns)
    assert series.measured == 1_000_000
    assert series.ttft.quantile(0.5) == pytest.approx(3.1)
    kept = sum(values._array.nbytes for values in (series.ttft, series.speed, series.e2e_speed))
    assert kept <= 3 * 8 * KEPT
    assert len(series.timeline().ended_per_s) <= STEPS


# -- files that grow ---------------------------------------------------------------------------------------------------------


def test_half_a_frame_waits_for_its_other_half(tmp_path: Path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    writer = FrameWriter(whole)
    for k in range(3):
        writer.put(turn(float(k)))
    writer.close()
    data = whole.read_bytes()
    tail = FrameTail(part)
    assert list(tail.read(math.inf)) == [], "the file is not there yet"
    part.write_bytes(data[:-5])
    assert [frame.due_ns for frame in tail.read(math.inf)] == [0, ns(1)]
    assert list(tail.read(math.inf)) == []
    with part.open("ab") as file:
        file.write(data[-5:])
    assert [frame.due_ns for frame in tail.read(math.inf)] == [ns(2)]
    assert not tail.broken


def test_a_file_that_is_replaced_is_read_from_its_start(tmp_path: Path):
    path = tmp_path / "power.frames"
    tail = FrameTail(path)
    writer = FrameWriter(path)
    writer.put_all([watt(1.0, 100.0), watt(2.0, 101.0)])
    writer.close()
    assert len(list(tail.read(math.inf))) == 2
    kept = path.rename(tmp_path / "old")  # keeps the inode in use, so that the new file has another
    writer = FrameWriter(path)
    writer.put(watt(9.0, 50.0))
    writer.close()
    assert [frame.value for frame in tail.read(math.inf)] == [50.0]
    kept.unlink()


def test_what_is_no_frame_ends_the_reading_and_is_said(tmp_path: Path):
    path = tmp_path / "rows-w0.frames"
    writer = FrameWriter(path)
    writer.put(turn(1.0))
    writer.close()
    with path.open("ab") as file:
        file.write(b"\x05\x00\x00\x00Zjunk")
    tail = FrameTail(path)
    assert len(list(tail.read(math.inf))) == 1
    assert tail.broken.startswith("rows-w0.frames cannot be read any further")
    assert list(tail.read(math.inf)) == []


def test_a_late_watcher_reads_in_slices_and_loses_no_row(tmp_path: Path):
    path = tmp_path / "rows-w0.frames"
    writer = FrameWriter(path)
    writer.put_all(watt(k / 10, float(k)) for k in range(1000))
    writer.close()
    tail, found, slices = FrameTail(path), [], 0
    while True:
        found += [frame.value for frame in tail.read(0.0)]  # its time is over before it begins
        slices += 1
        if not tail.behind:
            break
    assert found == [float(k) for k in range(1000)]
    assert slices == 4  # 256 rows each


def test_the_ledger_is_read_line_by_line_and_a_strange_one_is_said(tmp_path: Path):
    path = tmp_path / "ledger.jsonl"
    tail = LedgerTail(path)
    assert tail.read() == []
    rundir.append_line(path, LedgerLine(event="begun", index=0))
    with path.open("ab") as file:
        file.write(b'{"event": "jud')
    assert [line.event for line in tail.read()] == ["begun"], "half a line is none yet"
    rundir.append_line(path, LedgerLine(event="broken", index=0))  # cuts the half line off first
    assert [line.event for line in tail.read()] == ["broken"]
    with path.open("ab") as file:
        file.write(b"[1, 2]\n")
    rundir.append_line(path, LedgerLine(event="finished"))
    assert [line.event for line in tail.read()] == ["finished"]
    assert tail.broken.startswith("ledger.jsonl:3 is not a ledger line")


def test_a_ledger_that_was_restored_from_a_copy_is_read_anew(tmp_path: Path):
    path = tmp_path / "ledger.jsonl"
    tail = LedgerTail(path)
    for k in range(3):
        rundir.append_line(path, LedgerLine(event="begun", index=k))
    assert len(tail.read()) == 3
    rundir.write(path, path.read_bytes().split(b"\n")[0] + b"\n")
    assert [line.index for line in tail.read()] == [0]
    assert tail.restarted


# -- watts -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("readings", "watts", "why"),
    [
        ([watt(1, 100.0)], None, "gpu1 has given no value yet"),
        ([watt(1, 100.0), watt(1, 50.0, "gpu1")], 150.0, ""),
        # 30 J more in 0.5 s, by the device's counter alone
        ([watt(2, 100.0), watt(1.5, 1000.0, "gpu1", "energy"), watt(2, 1030.0, "gpu1", "energy")], 160.0, ""),
        # a counter that began again gives no difference, and the next one does: 20 J in 1 s
        ([watt(3, 100.0), *(watt(t, j, "gpu1", "energy") for t, j in ((1, 1000.0), (2, 10.0), (3, 30.0)))], 120.0, ""),
        # where a device shows power its counter is not used as well
        ([watt(1, 100.0), watt(1, 5.0, quantity="energy"), watt(2, 900.0, quantity="energy"), watt(2, 50.0, "gpu1")], 150.0, ""),
        ([watt(1, 100.0), watt(1, 50.0, "gpu1"), watt(9, 60.0, "gpu1")], None, "gpu0 has given no value for 8 s"),
        ([watt(1, 100.0), watt(1, None, "gpu1")], None, "gpu1 has given no value yet"),
    ],
)  # fmt: skip
def test_a_boundary_has_power_only_with_a_fresh_value_of_each_device(readings: list, watts: float | None, why: str):
    found = Watts((METER,))
    found.take(readings)
    (power,) = found.now()
    assert (power.boundary, power.basis, power.devices) == ("accelerator", "measured", 2)
    assert (power.watts, power.why) == (watts, why)


def test_along_time_a_value_stands_until_the_next_one_for_ten_seconds():
    series = Series(0, 0)
    series.add_samples([sample(t + 0.5, 1, 1) for t in range(20)])
    found = Watts((METER,))
    found.take([watt(0.5, 100.0), watt(0.5, 10.0, "gpu1"), watt(14.5, 200.0)], series)
    line = series.timeline().watts["accelerator, measured"]
    assert line[:11] == (110.0,) * 11
    assert line[11:] == (None,) * 9, "gpu1 has been silent for too long"


# -- a folder ----------------------------------------------------------------------------------------------------------------


def test_an_open_phase_shows_what_has_come_so_far(tmp_path: Path):
    folder = Folder(tmp_path / "run")
    writer = folder.begin(0, start_s=100.0)  # the window opens at 100 + 4/2 + 1 = 103
    writer.put(turn(101.0, ttft_s=1.5))  # settling: not measured
    writer.put(sample(102.0, in_flight=3, active=4))
    watched = RunWatch(folder.path)
    phase = watched.poll().now.phase
    assert phase is not None
    assert (phase.measured_turns, phase.wanted_turns, phase.ttft_p95_s) == (0, 50, None)
    writer.put(turn(103.0, ttft_s=0.2, tokens=11, last=True))
    writer.put(turn(103.5, ttft_s=0.4, tokens=11, cached=0))
    writer.put(turn(104.0, failure="http", detail="HTTP 503"))
    writer.put(sample(105.0, in_flight=2, active=4))
    writer.close()
    seen = watched.poll()
    phase = seen.now.phase
    assert phase is not None
    assert (seen.now.state, seen.now.stage, phase.index, phase.agents) == ("running", "measure", 0, 4)
    assert (phase.measured_turns, phase.failed_turns) == (3, 1)
    assert (phase.in_flight, phase.active_agents, phase.waiting) == (2, 4, 2)
    assert phase.ttft_p50_s == pytest.approx(0.4)  # of 0.2, 0.4 and infinity
    assert phase.ttft_p95_s is None, "the failed turn reaches it"
    assert phase.speed_p25 == pytest.approx(50.0)  # of 0, 100 and 100: rank 0.5
    assert phase.cached_share == pytest.approx(0.4)  # 800 of 2000
    assert phase.output_tokens_per_s == pytest.approx(22 / 2)  # from 103 to the latest, 105
    assert [(error.cause, error.turns) for error in phase.errors] == [("http", 1)]
    assert phase.last_error == "http: HTTP 503"
    assert phase.left_s == pytest.approx(3.0)  # the window is 5 s long
    assert phase.timeline.in_flight[2] == 3.0  # the sample at 102
    assert phase.timeline.in_flight[5] == 2.0
    assert sum(v or 0 for v in phase.timeline.output_tokens_per_s) == pytest.approx(33)  # settling turns too
    assert phase.timeline.ttft_max_s[1] == pytest.approx(1.5)


def test_a_phase_that_is_judged_stays_in_sight_until_the_next_begins(tmp_path: Path):
    folder = Folder(tmp_path / "run")
    folder.begin(0, 100.0).close()
    watched = RunWatch(folder.path)
    watched.poll()
    folder.judge(0, "pass", ttft_p95_s=0.9)
    seen = watched.poll()
    assert seen.now.phase is not None
    assert (seen.now.phase.index, seen.now.stage, seen.now.phase.in_flight) == (0, "judge", 0)
    (attempt,) = seen.about.attempts
    assert (attempt.event, attempt.ttft_p95_s, attempt.why) == ("judged", 0.9, "ramp")
    assert [v.verdict for v in attempt.verdicts] == ["pass"]
    (tier,) = seen.about.tiers
    assert (tier.tier, tier.passing, tier.failing, tier.bracket) == (
        "easy",
        4,
        None,
        "easy: passes at 4, no failure yet",
    )
    folder.begin(1, 120.0, agents=8).close()
    assert watched.poll().now.phase.index == 1  # type: ignore[union-attr]
    folder.judge(1, "fail", agents=8)
    seen = watched.poll()
    assert seen.about.tiers[0].failing == 8
    assert watched.poll().now.phase is seen.now.phase, "nothing more comes of a closed phase: its view is made once"


def test_what_was_not_read_before_a_phase_closed_is_not_given_as_its_figures(tmp_path: Path):
    """Rows that wait when the frames become tables are read by nobody: a part of them must not stand as the phase."""
    folder = Folder(tmp_path / "run")
    phase = folder.begin(0, 100.0)
    for k in range(600):
        phase.put(turn(103.5 + k / 1000))
    phase.close()
    watched = RunWatch(folder.path)
    assert watched.poll(budget_s=0.0).now.behind
    frames = next((folder.path / "phases").rglob("*.frames"))
    frames.unlink()
    assert watched.poll().now.behind, "being judged: still a part"
    folder.judge(0, "pass")
    seen = watched.poll()
    assert (seen.now.phase, seen.now.behind) == (None, False)


def test_a_run_that_was_broken_off_says_so_and_goes_on_when_it_is_resumed(tmp_path: Path):
    folder = Folder(tmp_path / "run")
    folder.begin(0, 100.0).close()
    folder.break_off(0, "KeyboardInterrupt")
    watched = RunWatch(folder.path)
    seen = watched.poll()
    assert (seen.now.state, seen.now.message) == ("broken", "broken off: KeyboardInterrupt")
    assert seen.about.attempts[0].event == "broken"
    folder.begin(1, 500.0).close()
    seen = watched.poll()
    assert (seen.now.state, seen.now.phase.index) == ("running", 1)  # type: ignore[union-attr]
    assert [attempt.event for attempt in seen.about.attempts] == ["broken", "begun"]


def test_a_run_that_was_killed_is_silent(tmp_path: Path):
    folder = Folder(tmp_path / "run")
    folder.begin(0, 100.0).close()
    long_ago_s = time.time() - 2 * QUIET_S
    for path in [folder.path, *folder.path.rglob("*")]:
        os.utime(path, (long_ago_s, long_ago_s))
    now = RunWatch(folder.path).poll().now
    assert now.state == "silent"
    assert now.message.startswith("nothing has been written for 4")


STARTED_S = 1_000_000_000.0
"""As `watched.Folder` says it."""


@pytest.mark.parametrize("end", ["finished", "broken"])
def test_what_is_made_of_a_run_later_does_not_lengthen_it(tmp_path: Path, end: str):
    """A report written today into a run of 90 s years ago: it is no older than its ledger's last line."""
    folder = Folder(tmp_path / "run")
    folder.begin(0, 100.0).close()
    folder.break_off(0, "a cause")
    os.utime(folder.path / "ledger.jsonl", (STARTED_S + 90, STARTED_S + 90))
    if end == "finished":
        rundir.write(folder.path / "result.json", msgspec.json.encode(result(tier())))
    (folder.path / "report.html").write_text("made later")
    now = RunWatch(folder.path).poll().now
    assert (now.state, now.elapsed_s) == (end, 90.0)


def test_a_report_of_a_killed_run_does_not_bring_it_back(tmp_path: Path):
    folder = Folder(tmp_path / "run")
    folder.begin(0, 100.0).close()
    long_ago_s = time.time() - 2 * QUIET_S
    for path in folder.path.rglob("*"):
        os.utime(path, (long_ago_s, long_ago_s))
    (folder.path / "report.html").write_text("made later")
    assert RunWatch(folder.path).poll().now.state == "silent"
    rows = FrameWriter(rundir.frames_path(rundir.phase_folder(folder.path, 0, 4), 0))
    rows.put(sample(101.0, 1, 1))
    rows.close()
    assert RunWatch(folder.path).poll().now.state == "running", "a row does"


def test_a_watcher_that_comes_late_gives_a_phase_no_watt_of_the_time_before_it(tmp_path: Path):
    """Two devices at 35 W for the 100 s before the phase, then at 500 W."""
    folder = Folder(tmp_path / "run")
    meter = folder.meters()
    for at in range(100):
        meter.put_all([watt(float(at), 35.0), watt(float(at), 35.0, "gpu1")])
    folder.begin(0, 100.0).close()
    meter.put_all([watt(100.5, 500.0), watt(100.5, 500.0, "gpu1")])
    meter.close()
    seen = RunWatch(folder.path).poll()
    assert seen.now.phase is not None
    assert seen.now.phase.timeline.watts["accelerator, measured"] == (1000.0,)
    assert seen.now.power[0].watts == 1000.0


def test_while_rows_are_read_in_no_part_of_them_passes_for_the_whole(tmp_path: Path):
    folder = Folder(tmp_path / "run")
    writer = folder.begin(0, 100.0)
    writer.put_all(turn(103.5 + k / 1000) for k in range(600))
    writer.close()
    watched = RunWatch(folder.path)
    seen = watched.poll(budget_s=0.0)
    assert seen.now.behind
    assert not [name for name in metrics.samples([seen]) if name.startswith("phase_")]
    shown = story.progress(seen)
    assert (shown.kind, shown.message) == ("", "rows of phase 0 are still being read in")
    seen = watched.poll(budget_s=LONG_S)
    assert not seen.now.behind
    assert metrics.samples([seen])["phase_turns_measured"][0][1] == 600
    assert story.progress(seen).measured_turns == 600


def test_a_plan_that_does_not_fit_its_ledger_is_said_until_it_is_restored(tmp_path: Path):
    folder = Folder(tmp_path / "run")
    folder.begin(0, 100.0).close()
    folder.judge(0, "pass")
    plan = folder.path / "plan.toml"
    as_it_was = plan.read_text()
    rundir.write(plan, as_it_was.replace('"easy"', '"another"').encode())
    watched = RunWatch(folder.path)
    (note,) = watched.poll().about.notes
    assert note.startswith("plan.toml: asks for the tier 'another', for which phase 0 was not judged")
    rundir.write(plan, as_it_was.encode())
    about = watched.poll().about
    assert (about.notes, about.tiers[0].passing) == ((), 4)


def test_power_is_read_beside_the_phase(tmp_path: Path):
    folder = Folder(tmp_path / "run")
    meter = folder.meters()
    meter.put_all([watt(99.0, 70.0), watt(99.0, 30.0, "gpu1")])
    watched = RunWatch(folder.path)
    assert watched.poll().now.power[0].watts == 100.0
    writer = folder.begin(0, 100.0)
    writer.put(sample(101.0, 4, 4))
    watched.poll()
    meter.put_all([watt(101.5, 300.0), watt(101.5, 200.0, "gpu1")])
    seen = watched.poll()
    assert seen.now.power[0].watts == 500.0
    assert seen.now.phase is not None
    assert seen.now.phase.timeline.watts["accelerator, measured"][1] == 500.0
    writer.close()
    meter.close()


BROKEN = [b"", b"{\n", b"\xff\xfe\x00\n", b"[]\n", b'{"a":' * 100_000 + b"\n"]
QUIET = {("ledger.jsonl", b""), ("environment.json", b"[]\n")}
"""No lines are no fault, and an environment need not say when it began."""


@pytest.mark.parametrize(
    "name", ["plan.toml", "run.json", "environment.json", "meters.json", "ledger.jsonl", "result.json"]
)
@pytest.mark.parametrize("content", BROKEN, ids=["empty", "cut", "no text", "other", "deep"])
def test_a_broken_file_is_said_and_the_rest_is_shown(tmp_path: Path, name: str, content: bytes):
    folder = Folder(tmp_path / "run")
    folder.begin(0, 100.0).close()
    (folder.path / name).write_bytes(content)
    (folder.path / "unknown.bin").write_bytes(content)
    (folder.path / "phases" / "what is this").write_bytes(content)
    seen = RunWatch(folder.path).poll()
    assert (name in " ".join(seen.about.notes)) is ((name, content) not in QUIET)
    assert seen.now.state in ("running", "preparing")


def test_an_empty_folder_and_none_at_all_are_a_run_before_its_first_phase(tmp_path: Path):
    seen = RunWatch(tmp_path).poll()
    assert (seen.now.state, seen.now.phase, seen.about.tiers) == ("preparing", None, ())
    assert RunWatch(tmp_path / "gone").poll().now.state == "preparing"


def test_the_snapshot_as_the_runs_own_display_shows_it(tmp_path: Path):
    folder = Folder(tmp_path / "run")
    writer = folder.begin(0, 100.0)
    writer.put(turn(103.5, ttft_s=0.4))
    writer.put(sample(105.0, in_flight=5, active=4))
    writer.close()
    shown = story.progress(RunWatch(folder.path).poll())
    assert (shown.stage, shown.phase, shown.kind, shown.agents, shown.active_agents) == ("measure", 0, "search", 4, 4)
    assert (shown.in_flight, shown.measured_turns, shown.wanted_turns) == (5, 1, 50)
    assert shown.ttft_p95_s == pytest.approx(0.4)
    assert shown.brackets == ("easy: passes at -, no failure yet",)
    folder.break_off(0, "a cause")
    over = story.progress(RunWatch(folder.path).poll())
    assert (over.kind, over.message) == ("", "broken off: a cause")


def test_what_a_simulator_certifies_is_shown_as_simulated():
    plan = planfile.load(None, simulate={"system": "hgx-h200", "model": "gpt-oss-120b"})
    name = plan.tiers.tier[0].name
    at = Standing(tier=name, standing="certified", agents=8, passing=8, failing=9)
    assert story.tiers(plan, [at])[0].standing == "simulated"
    real = msgspec.structs.replace(plan, simulate=None)
    assert story.tiers(real, [at])[0].standing == "certified"
    still = msgspec.structs.replace(at, standing="at_least", failing=None)
    assert story.tiers(plan, [still])[0].standing == "at_least", "which says that there may be more"

"""What a person sees: the live block, the plain lines and the summary, at 80 columns."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf.cli.display import LiveDisplay, PlainDisplay, display, frame, phase_line
from openagentperf.cli.summary import summary
from openagentperf.records.progress import Progress
from openagentperf.records.result import Interval, Result, TierResult, Workmix

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def progress(**fields: object) -> Progress:
    usual = {
        "stage": "measure",
        "phase": 4,
        "kind": "search",
        "agents": 32,
        "active_agents": 30,
        "in_flight": 28,
        "measured_turns": 120,
        "wanted_turns": 200,
        "failed_turns": 1,
        "ttft_p95_s": 1.234,
        "speed_p25": 84.21,
        "elapsed_s": 75.0,
        "phase_left_s": 6.0,
        "run_left_s": 4000.0,
        "brackets": ("30/10: passes at 16, no failure yet", "100/5: 8 confirmed"),
    }
    return Progress(**(usual | fields))  # type: ignore[arg-type]


def test_the_block_shows_stage_load_figures_and_every_tier():
    assert frame(progress(last_error="http: HTTP 503")) == [
        "phase 4, search: measuring         1:15 gone, phase 0:06 left, run ~1:06:40 left",
        "  agents   30/32 active          turns     120/200 measured    errors 1",
        "  TTFT P95 1.23 s                speed P25 84.2 tok/s          in flight 28",
        "  30/10: passes at 16, no failure yet",
        "  100/5: 8 confirmed",
        "  last error: http: HTTP 503",
    ]


def test_the_block_before_the_first_phase_is_its_message():
    assert frame(Progress(stage="preparing", message="corpus demo")) == ["preparing  corpus demo"]


@given(
    p=st.builds(
        Progress,
        stage=st.sampled_from(["preparing", "preflight", "ramp", "settle", "measure", "drain", "judge", "done"]),
        message=st.text(max_size=200),
        kind=st.sampled_from(["", "search", "certify"]),
        agents=st.integers(0, 10**6),
        active_agents=st.integers(0, 10**6),
        in_flight=st.none() | st.integers(0, 10**6),
        measured_turns=st.integers(0, 10**9),
        failed_turns=st.integers(0, 10**9),
        ttft_p95_s=st.none() | st.floats(0, 1e6),
        speed_p25=st.none() | st.floats(0, 1e6),
        elapsed_s=st.floats(0, 1e7),
        run_left_s=st.none() | st.floats(0, 1e7),
        last_error=st.text(max_size=200),
        brackets=st.lists(st.text(max_size=200), max_size=4).map(tuple),
    ),
    width=st.integers(20, 200),
)
def test_no_line_is_too_long_or_holds_a_control_code_whatever_a_server_says(p: Progress, width: int):
    for line in frame(p, width):
        assert len(line) <= width
        assert not CONTROL.search(line)


def test_plain_lines_come_at_the_end_of_a_phase_and_every_ten_seconds():
    stream, now = io.StringIO(), iter([0.0, 0.0, 9.9, 10.0, 10.0, 10.1, 10.2, 30.0, 30.0])
    shown = PlainDisplay(stream, lambda: next(now))
    shown(progress(stage="preparing", kind="", message="run folder runs/x"))  # says it, at 0.0
    shown(progress(stage="preparing", kind="", message="run folder runs/x"))  # the same again: silence, no clock read
    shown(progress(stage="ramp"))  # 0.0 - 0.0 < 10
    shown(progress(stage="measure"))  # 9.9
    shown(progress(stage="measure"))  # 10.0: says it, at 10.0
    shown(progress(stage="judge"))  # always says it, at 10.1
    shown(progress(stage="judge"))  # the same phase: silence
    shown(progress(stage="ramp", phase=5))  # 10.2
    shown(progress(stage="judge", phase=5))  # at 30.0
    figures = "32 agents, 120 turns, errors 1, TTFT P95 1.23 s, speed P25 84.2 tok/s"
    tiers = "30/10: passes at 16, no failure yet; 100/5: 8 confirmed"
    assert stream.getvalue().splitlines() == [
        "run folder runs/x",
        f"phase 4 search: {figures}, 28 in flight, measuring, ~1:06:40 left",
        f"phase 4 search: {figures}; {tiers}",
        f"phase 5 search: {figures}; {tiers}",
    ]
    assert not CONTROL.search(stream.getvalue())


def test_a_plain_line_that_is_of_no_phase_says_its_message_or_nothing():
    """A warning before the first phase ends is of stage `judge`; a watcher that still reads rows in is of any."""
    stream = io.StringIO()
    shown = PlainDisplay(stream)
    shown(Progress(stage="judge", warning="the meter is late"))
    shown(Progress(stage="measure", message="rows of phase 3 are still being read in"))
    assert stream.getvalue() == "warning: the meter is late\nrows of phase 3 are still being read in\n"


def test_a_plain_line_holds_no_control_code_of_a_server():
    stream = io.StringIO()
    PlainDisplay(stream)(progress(stage="judge", brackets=("30/10: \x1b[31mred",)))
    assert not CONTROL.search(stream.getvalue())


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_are_broken_between_words_on_a_terminal_and_whole_in_a_log(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    terminal, log = _Terminal(), io.StringIO()
    for stream in (terminal, log):
        PlainDisplay(stream)(progress(stage="judge"))
    assert terminal.getvalue().splitlines() == [
        "phase 4 search: 32 agents, 120 turns, errors 1, TTFT P95 1.23 s, speed P25 84.2",
        "    tok/s; 30/10: passes at 16, no failure yet; 100/5: 8 confirmed",
    ]
    assert log.getvalue().splitlines() == [" ".join(line.strip() for line in terminal.getvalue().splitlines())]


@pytest.mark.parametrize(
    ("stream", "plain", "variables", "kind"),
    [
        (_Terminal, False, {}, LiveDisplay),
        (_Terminal, True, {}, PlainDisplay),
        (_Terminal, False, {"NO_COLOR": "1"}, PlainDisplay),
        (_Terminal, False, {"TERM": "dumb"}, PlainDisplay),
        (io.StringIO, False, {}, PlainDisplay),
    ],
)
def test_only_a_terminal_that_may_be_painted_on_is(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], plain: bool, variables: dict[str, str], kind: type
):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert type(display(plain, stream())) is kind


def test_the_live_block_paints_the_latest_frame_and_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    stream = _Terminal()
    with LiveDisplay(stream) as shown:
        shown(progress(agents=32, last_error="[bold]not markup[/bold]"))
        shown._live.refresh()
        assert "30/32 active" in stream.getvalue()
        assert "[bold]not markup[/bold]" in stream.getvalue()
    assert "\x1b[2K" in stream.getvalue(), "the block is erased line by line"


def test_figures_that_are_not_known_are_a_dash():
    assert phase_line(progress(ttft_p95_s=None, speed_p25=None)).endswith("TTFT P95 -, speed P25 -")


# --- the summary ------------------------------------------------------------------------------------------------------------


def tier(**fields: object) -> TierResult:
    usual = {
        "tier": "30/10",
        "output_speed": 30.0,
        "ttft_s": 10.0,
        "standing": "confirmed",
        "agents": 24,
        "smallest_failing": 25,
        "ttft_p95_s": 4.123,
        "speed_p25": 31.24,
        "e2e_speed_p25": 20.06,
    }
    return TierResult(**(usual | fields))  # type: ignore[arg-type]


def result(*tiers: TierResult, **fields: object) -> Result:
    usual = {
        "version": "0.1.0",
        "plan_digest": "",
        "corpus_digest": "",
        "tiers": "agentperf 1",
        "tiers_digest": "",
        "rigor": "quick",
        "preliminary": True,
        "track": "exact",
        "target": "embedded simulated node",
        "cache": "cache verified",
        "results": tiers,
        "phases": (),
        "exit_code": 0,
        "workmix": Workmix(
            input_tokens_mean=None, output_tokens_mean=None, set_input_tokens_mean=1, set_output_tokens_mean=1
        ),
    }
    return Result(**(usual | fields))  # type: ignore[arg-type]


def test_the_summary_of_three_tiers():
    text = summary(
        result(
            tier(estimate=Interval(estimate=24.44, low=23.1, high=25.8, phases=7), agents_per_accelerator=3.0),
            tier(
                tier="100/5",
                output_speed=100.0,
                ttft_s=5.0,
                standing="unmet",
                agents=0,
                smallest_failing=1,
                ttft_p95_s=None,
                speed_p25=None,
                e2e_speed_p25=None,
                why="P25 output speed is 84.2 tokens/s at one agent",
            ),
            tier(
                tier="300/3",
                output_speed=300.0,
                ttft_s=3.0,
                standing="at_least",
                agents=180,
                smallest_failing=None,
                non_monotone=(12,),
            ),
        ),
        "runs/20261122-101500-1a2b3c4d",
    )
    assert text.splitlines()[3:7] == [
        "  tier   agents  standing    next fails  TTFT P95  speed P25  e2e speed P25",
        "  30/10      24  confirmed           25    4.12 s       31.2           20.1",
        "  100/5       0  unmet                1         -          -              -",
        "  300/3   >=180  at least             -    4.12 s       31.2           20.1",
    ]
    for said in (
        "30/10: crossing estimated at 24.4 agents, 90 % interval 23.1 to 25.8, 7 phases",
        "30/10: 3 agents per declared accelerator",
        "100/5: P25 output speed is 84.2 tokens/s at one agent",
        "300/3: not monotone: passed at 12",
        "24 agents working at once were confirmed",
        "openagentperf score runs/20261122-101500-1a2b3c4d",
        "self-reported",
        "preliminary",
        "simulated target",
        "quality unverified",
    ):
        assert said in text
    assert "cache unverified" not in text
    assert "were certified" not in text


@pytest.mark.parametrize(
    ("made", "says", "never"),
    [
        (
            result(tier(standing="certified"), target="endpoint", preliminary=False, rigor="standard"),
            ["were certified"],
            ["preliminary", "simulated target", "confirmed"],
        ),
        (
            result(tier(), target="endpoint", cache="cache unverified"),
            ["cache unverified", "--rigor standard"],
            ["simulated target"],
        ),
        (result(tier(standing="unmet", agents=0)), ["Not even one agent"], ["working at once"]),
        (
            result(tier(standing="invalid", agents=None, why="the client was late")),
            ["No capacity is established", "the client was late"],
            ["working at once"],
        ),
        (result(tier(standing="unfinished", agents=None)), ["openagentperf run --resume runs/x"], ["working at once"]),
        (
            result(tier(standing="at_least", agents=180)),
            ["180 agents at once still passed, and no more were tried"],
            ["were confirmed"],
        ),
        (result(tier(), notes=("output lengths differ by 12 %",)), ["output lengths differ by 12 %"], []),
    ],
)
def test_the_summary_claims_what_was_established_and_no_more(made: Result, says: list[str], never: list[str]):
    text = " ".join(summary(made, "runs/x").split())
    for phrase in says:
        assert phrase in text
    for phrase in never:
        assert phrase not in text.replace("confirmed, not certified", "")


def test_a_long_head_is_broken_between_words():
    changed = "quick (changed: certify_phases, certify_turns, client_error, limit_s, measure_s, search_turns)"
    text = summary(result(tier(), rigor=changed), "runs/x")
    assert text.splitlines()[1:3] == [
        "tiers agentperf 1, rigor quick (changed: certify_phases, certify_turns,",
        "  client_error, limit_s, measure_s, search_turns), openagentperf 0.1.0",
    ]


@given(
    st.lists(
        st.builds(tier, why=st.text(max_size=300), agents=st.none() | st.integers(0, 99999)), min_size=1, max_size=4
    )
)
def test_the_summary_fits_in_80_columns(tiers: list[TierResult]):
    for line in summary(result(*tiers), "runs/x").splitlines():
        assert len(line) <= 80 or " " not in line.strip(), line
        assert not CONTROL.search(line)

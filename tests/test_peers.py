"""benchmarks.peers: how each client's report is read, what the server's log says of a run, medians, ratios, bars and the page."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from benchmarks import peer_table, peers
from benchmarks.mock import SendLog
from benchmarks.peer_clients import (
    OURS,
    PEERS,
    READER,
    Job,
    Load,
    Said,
    said_by_aiperf,
    said_by_guidellm,
    said_by_inference_perf,
    said_by_vllm,
)
from benchmarks.peer_run import NOT_INSTALLED, Ran, held_against, run
from benchmarks.peer_table import (
    AIPERF,
    BEGIN,
    END,
    KEPT,
    NOT_KEPT,
    NOT_MEASURED,
    VLLM,
    bars,
    of_load,
    page,
    rows,
    spliced,
)
from openagentperf.units import NS_PER_MS

TOGETHER, A_THOUSAND, BODIES = (peers.LOADS[name] for name in ("together", "apart-1000", "bodies"))


# -- reports ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "report"),
    [
        (said_by_vllm, {"p50_ttft_ms": 450.0, "p95_ttft_ms": 675.0, "p50_tpot_ms": 20.0, "completed": 7}),
        (
            said_by_aiperf,
            {
                "time_to_first_token": {"p50": 450.0, "p95": 675.0, "unit": "ms"},
                "inter_token_latency": {"p50": 20.0},
            },
        ),
        (
            said_by_guidellm,
            {
                "benchmarks": [
                    {
                        "metrics": {
                            "time_to_first_token_ms": {"successful": {"percentiles": {"p50": 450.0, "p95": 675.0}}},
                            "inter_token_latency_ms": {"successful": {"percentiles": {"p50": 20.0, "p95": 21.0}}},
                        }
                    }
                ]
            },
        ),
        (
            said_by_inference_perf,  # seconds
            {
                "successes": {
                    "latency": {
                        "time_to_first_token": {"median": 0.450, "p95": 0.675},
                        "time_per_output_token": {"median": 0.020},
                    }
                }
            },
        ),
    ],
)
def test_a_report_is_read_in_ms_and_tokens_per_s(read, report):
    said = read(report)
    assert (said.ttft_p50, said.ttft_p95, said.speed_p50) == pytest.approx((450.0, 675.0, 50.0))


def test_a_report_without_speed_has_none():
    assert said_by_aiperf({"time_to_first_token": {"p50": 1.0, "p95": 2.0}}).speed_p50 is None


def test_the_reader_s_line_is_read():
    job = Job(load=TOGETHER, url="http://127.0.0.1:1", peers=Path(), out=Path())
    # us an event, events, seconds, TTFT P50 and P95, first to last: 99 tokens in 1,980 ms are 50 a second
    said = PEERS[READER].read(job, "5.1 104000 9.1 200.4 203.1 1980.0\n")
    assert said == Said(ttft_p50=200.4, ttft_p95=203.1, speed_p50=50.0)


@pytest.mark.parametrize("name", [name for name, peer in PEERS.items() if peer.packages])
def test_what_is_not_there_is_a_row_that_says_so(name: str, tmp_path: Path):
    for folder in (None, tmp_path):
        ran = run(PEERS[name], TOGETHER, folder)
        assert ran.failure == NOT_INSTALLED
        (line,) = [line for line in of_load([ran], TOGETHER) if name in line]
        assert NOT_INSTALLED in line


def test_the_version_told_is_the_installed_one(tmp_path: Path):
    (tmp_path / "inference-perf/lib/python3.12/site-packages/inference_perf-0.7.0.dist-info").mkdir(parents=True)
    assert PEERS["inference-perf"].version(tmp_path) == "0.7.0"


# -- the server's log ---------------------------------------------------------------------------------------------------------


def log(*rows: tuple[int, int, int, int]) -> SendLog:
    """Rows of (read, first, last, tokens), in ms."""
    read, first, last, tokens = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    zero = np.zeros_like(tokens)
    return SendLog(
        read_ns=read * NS_PER_MS,
        first_ns=first * NS_PER_MS,
        last_ns=last * NS_PER_MS,
        late_ns=zero,
        tokens=tokens,
        first_tokens=zero + 1,
        body_bytes=zero + 300,
    )


def test_lone_requests_before_the_load_are_left_out():
    seen = log((0, 10, 20, 3), (30, 40, 50, 3), (100, 110, 130, 3), (101, 111, 131, 3), (140, 150, 160, 3))
    assert len(seen.load()) == 3
    assert len(log((0, 10, 20, 3), (30, 40, 50, 3)).load()) == 2  # one stream: all of it is the load


@pytest.mark.parametrize(
    ("spans", "most"),
    [
        ([(0, 10), (10, 20), (20, 30)], 1),  # one after another: an end comes before a begin at the same instant
        ([(0, 10), (5, 20), (9, 30)], 3),
        ([(0, 10), (5, 20), (15, 30)], 2),
    ],
)
def test_streams_open_at_once(spans: list[tuple[int, int]], most: int):
    assert log(*((read, last, last, 1) for read, last in spans)).most_open() == most


class Straight:
    """CPU time as a quarter of the time that passes."""

    def at(self, t_ns: int) -> float:
        return t_ns / 4e9


def test_a_run_is_held_against_the_log():
    seen = log((1000, 1200, 3200, 101), (1000, 1300, 3300, 101), (1000, 1400, 3400, 101), (3350, 3450, 5000, 40))
    said = Said(ttft_p50=310.0, ttft_p95=400.0, speed_p50=49.5)
    ran = held_against(seen, replace(TOGETHER, tokens=101), Straight(), 1.5, Ran(peer="p", load="together", said=said))
    assert ran.requests == 3  # the fourth was cut off: its tokens count, its times do not
    assert ran.tokens == 343
    assert ran.load_s == 4.0
    assert ran.load_cpu_s == pytest.approx(1.0)
    assert ran.after_cpu_s == pytest.approx(0.25)  # 1.5 in all, of them 1.25 until the last token
    assert ran.us_per_token == pytest.approx(1e6 / 343)
    assert ran.us_per_token_in_all == pytest.approx(1.25e6 / 343)
    assert ran.open == 3  # the fourth came when only the third was left
    assert ran.ttft_p50_error_ms == pytest.approx(10.0)
    assert ran.ttft_p95_error_ms == pytest.approx(10.0)  # true: 300 + 0.9 x 100
    assert ran.speed_error_percent == pytest.approx(-1.0)  # true: 100 tokens in 2 s


def test_a_client_that_knows_its_turns_is_held_against_those():
    said = Said(
        ttft_p50=310.0, ttft_p95=400.0, speed_p50=50.0, true_ttft_p50=309.0, true_ttft_p95=398.0, true_speed_p50=40.0
    )
    seen = log((0, 100, 2100, 100), (0, 100, 2100, 100))
    ran = held_against(seen, TOGETHER, Straight(), 1.0, Ran(peer="p", load="together", said=said))
    assert ran.ttft_p50_error_ms == pytest.approx(1.0)
    assert ran.ttft_p95_error_ms == pytest.approx(2.0)
    assert ran.speed_error_percent == pytest.approx(25.0)


# -- medians, ratios, bars ----------------------------------------------------------------------------------------------------


def ran(peer: str, load: Load, us: float, after_us: float = 0.0, **more: object) -> Ran:
    """A million tokens at so many microseconds."""
    return Ran(
        peer=peer,
        load=load.name,
        requests=10_000,
        tokens=1_000_000,
        load_s=10.0,
        load_cpu_s=us,
        after_cpu_s=after_us,
        open=500,
        **more,
    )  # type: ignore[arg-type]


def test_rows_are_medians_and_a_failure_stays_visible():
    seen = [ran("a", TOGETHER, us) for us in (5.0, 9.0, 6.0)] + [
        ran("b", TOGETHER, 1.0),
        Ran(peer="b", load="together", failure="status 1: no"),
    ]
    first, second = rows(seen, TOGETHER)
    assert (first.peer, first.us_per_token, first.runs, first.note) == ("a", 6.0, 3, "")
    assert (second.us_per_token, second.runs, second.note) == (1.0, 1, "status 1: no")
    assert "- b: status 1: no." in of_load(seen, TOGETHER)


def test_a_client_that_never_reported_still_shows_what_it_opened():
    seen = [
        Ran(peer="slow", load="together", failure="not done after 180 s", tokens=10, requests=1, load_s=1.0, load_cpu_s=1.0, open=206)
    ]  # fmt: skip
    (row,) = rows(seen, TOGETHER)
    assert (row.runs, row.open, row.us_per_token) == (0, 206, 1e5)
    assert any("| slow |" in line and "| 206 | 0 |" in line for line in of_load(seen, TOGETHER))


def test_cost_bars_hold_everything_of_ours_against_the_others_load():
    # 8 + 1 us against 4.5, 30 and 60: 2.0x, 0.3 and 0.15
    seen = [
        ran(OURS, TOGETHER, 8.0, 1.0),
        ran(READER, TOGETHER, 4.5, 50.0),
        ran(VLLM, TOGETHER, 30.0),
        ran(AIPERF, TOGETHER, 60.0),
    ]
    assert [(bar.measured, bar.state) for bar in bars(seen, [TOGETHER])] == [
        ("2", KEPT),
        ("0.3", KEPT),
        ("0.15", NOT_KEPT),
    ]


def test_a_bar_against_an_absent_peer_is_not_measured():
    seen = [ran(OURS, TOGETHER, 8.0), Ran(peer=VLLM, load="together", failure=NOT_INSTALLED)]
    assert {bar.state for bar in bars(seen, [TOGETHER])} == {NOT_MEASURED}


def test_bodies_are_held_to_cpu_a_request():
    # 10,000 requests at 0.31 ms; what a phase's end costs does not grow with them
    (bar,) = bars([ran(OURS, BODIES, 3.1, 2.0)], [BODIES])
    assert (bar.measured, bar.state) == ("0.31", NOT_KEPT)


@pytest.mark.parametrize(
    ("p50", "p95", "speed", "states"),
    [(2.9, -3.0, 0.5, [KEPT, KEPT, KEPT]), (-3.1, 2.0, -0.6, [NOT_KEPT, KEPT, NOT_KEPT])],
)
def test_error_bars_bound_both_ways(p50: float, p95: float, speed: float, states: list[str]):
    seen = [ran(OURS, A_THOUSAND, 8.0, ttft_p50_error_ms=p50, ttft_p95_error_ms=p95, speed_error_percent=speed)]
    assert [bar.state for bar in bars(seen, [A_THOUSAND])] == states


def test_a_phase_that_calls_itself_invalid_claims_no_error_bar():
    said = Said(ttft_p50=1.0, ttft_p95=1.0, invalid=("the client was late",))
    seen = [ran(OURS, A_THOUSAND, 8.0, ttft_p50_error_ms=90.0, said=said)]
    made = bars(seen, [A_THOUSAND])
    assert not any(bar.missed or bar.state == KEPT for bar in made)
    assert "- openagentperf: the client was late." in of_load(seen, A_THOUSAND)


def test_only_measured_loads_have_bars():
    assert bars([ran(OURS, BODIES, 1.0)], [BODIES]) == bars(
        [ran(OURS, BODIES, 1.0)], [BODIES, replace(BODIES, name="else")]
    )
    assert peer_table.ERRORS.keys() | peer_table.COSTS.keys() <= peers.LOADS.keys()


# -- the page -----------------------------------------------------------------------------------------------------------------


def test_tables_are_whole_and_name_every_client():
    seen = [
        ran(OURS, TOGETHER, 8.0),
        ran(READER, TOGETHER, 4.0),
        Ran(peer="aiperf", load="together", failure=NOT_INSTALLED),
    ]
    made = page(seen, [TOGETHER], "2 cores.", "python -m benchmarks.peers")
    assert "2 cores. `python -m benchmarks.peers`" in made
    assert "| **openagentperf** | 8.0 | 2.0 |" in made
    assert f"| aiperf: {NOT_INSTALLED} |" in made
    widths = {line.count("|") for line in of_load(seen, TOGETHER) if line.startswith("|")}
    assert len(widths) == 1


def test_the_docs_page_has_its_marks_and_takes_tables():
    text = peers.PAGE.read_text()
    made = spliced(text, "| a |\n")
    assert made.startswith(text.partition(BEGIN)[0])
    assert made.endswith(text.partition(END)[2])
    assert f"{BEGIN}\n\n| a |\n\n{END}" in made
    assert spliced(made, "| a |\n") == made
    with pytest.raises(ValueError, match="to here"):
        spliced("a page without marks", "")


def test_a_command_that_is_shown_tells_no_local_path(tmp_path: Path):
    given = peers._parser().parse_args(["--peers", str(tmp_path), "--repeats", "2"])
    assert str(tmp_path) not in peers._command(given)
    assert peers._command(given) == "python -m benchmarks.peers --peers DIR --repeats 2 --others 1"


def test_an_unknown_client_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        peers.main(["wrk"])
    assert "wrk: no such client" in capsys.readouterr().err


# -- for real -----------------------------------------------------------------------------------------------------------------


@pytest.mark.e2e
@pytest.mark.skipif(
    shutil.which("cc") is None and shutil.which("gcc") is None, reason="no C compiler: target and reader are C files"
)
@pytest.mark.parametrize("name", [OURS, READER])
def test_our_own_clients_run_and_report(name: str):
    load = Load(
        name="small",
        title="",
        streams=10,
        tokens=20,
        ttft_ms=50,
        jitter_ms=20,
        interval_ms=5,
        body_bytes=400,
        seconds=1.5,
    )
    seen = run(PEERS[name], load, None)
    assert seen.failure == ""
    assert seen.requests >= 20
    assert seen.tokens >= 20 * seen.requests
    assert seen.open == 10
    assert 300 <= seen.body_bytes <= 1000
    assert seen.load_cpu_s > 0
    assert seen.ttft_p50_error_ms is not None
    assert (
        seen.ttft_p50_error_ms > -20
    )  # nobody reads a token before it was sent, and P50s of sets that differ by a turn are near
    assert seen.speed_error_percent is not None
    assert abs(seen.speed_error_percent) < 50

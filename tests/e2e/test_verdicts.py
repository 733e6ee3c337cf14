"""Truth: whose fault it was. A client that falls behind makes a phase invalid, a server that does makes it fail, and neither is mistaken
for the other. Failures are rows and count; a result follows from its rows to the last bit."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import polars as pl
import pytest

from openagentperf import bench
from openagentperf.errors import EndpointError
from openagentperf.records.progress import Progress
from openagentperf.sim.spawn import spawned
from small_runs import (
    Ended,
    after_preflight,
    asked,
    call,
    faulty,
    ledger,
    plan,
    reasons,
    trajectories,
    turns,
    verdicts,
    workers,
    write_corpus,
    write_plan,
)

pytestmark = pytest.mark.e2e


# -- who fell behind ---------------------------------------------------------------------------------------------------------


def first_phase(folder: Path, url: str, during: Callable[[Progress], None] = lambda _: None, **wish: object) -> Path:
    """A run up to its second phase, which is interrupted; the run folder with the first one judged."""
    found: list[str] = []

    def observe(progress: Progress) -> None:
        if progress.message.startswith("run folder "):
            found.append(progress.message.removeprefix("run folder "))
        if progress.phase > 0:
            raise KeyboardInterrupt
        during(progress)

    with suppress(KeyboardInterrupt):
        bench.run(plan(folder, url, **wish), folder / "runs", observe)
    return Path(found[0])


@contextmanager
def stuttering(pid: int) -> Iterator[None]:
    """While this goes on, a process stands still for 300 ms of every 400: what a host without enough CPU does to it."""
    over = threading.Event()

    def stutter() -> None:
        with suppress(ProcessLookupError):
            while not over.wait(0.1):
                os.kill(pid, signal.SIGSTOP)
                over.wait(0.3)
                os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=stutter)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_client_that_falls_behind_makes_the_phase_invalid_not_slow(tmp_path: Path):
    """The server takes 30 ms a turn and could not be better; the tier asks for 1 s. Late is only our own sending."""
    begun: list[int] = []
    with faulty("ok") as url, ExitStack() as stack:

        def during(progress: Progress) -> None:
            if progress.stage == "settle" and not begun:
                begun.extend(workers())
                stack.enter_context(stuttering(begun[0]))

        folder = first_phase(
            tmp_path, url, during, start=4, limit=4, ttft_s=1, output_speed=20, client_error=0.01, search_turns=20,
            settle_s=1.2,
        )  # fmt: skip
    assert len(begun) == 1
    assert verdicts(folder)[0] == (4, "invalid")
    assert "the client itself was" in reasons(folder)
    assert "give it more CPU or more workers" in reasons(folder)
    rows = turns(folder)
    late_s = (rows["sent_ns"] - rows["due_ns"]) / 1e9
    assert late_s.quantile(0.9) > 0.1, "it was made late, or this test proves nothing"


def test_a_server_that_falls_behind_makes_the_phase_fail_not_invalid(tmp_path: Path):
    """One request at a time at 50 ms each: twelve agents wait about 0.6 s for their turn, and 0.2 s is asked for."""
    with faulty("slow", "--service-ms", "50", *after_preflight()) as url:
        folder = first_phase(tmp_path, url, start=12, limit=12, ttft_s=0.2, search_turns=20)
    assert verdicts(folder)[0] == (12, "fail")
    assert re.search(r"TTFT P95 is [\d.]+ s, at most 0.2 s is needed", reasons(folder))


def test_a_server_so_far_behind_that_few_turns_complete_has_failed_too(tmp_path: Path):
    """1 s a request: of the 50 turns asked for, about 3 complete before the limit. Too little data must not excuse it."""
    with faulty("slow", "--service-ms", "1000", *after_preflight()) as url:
        folder = first_phase(tmp_path, url, start=12, limit=12, ttft_s=0.5, search_turns=50, limit_s=4)
    assert verdicts(folder)[0] == (12, "fail")
    assert "few turns completed" in reasons(folder)
    assert "the server is overloaded" in reasons(folder)


def test_the_simulated_node_beyond_its_batch_fails_and_is_not_invalid(tmp_path: Path):
    """The embedded target has room for some tens of sequences; 120 agents without pauses wait for each other.

    They share two cores with it, so this client may be late by 0.9 s: whether it was is another test's question."""
    write_corpus(tmp_path, trajectories(count=20, delay_ms=5, words=1600))
    with spawned("openagentperf.sim.serve") as url:
        folder = first_phase(
            tmp_path, url, track="exact", start=120, limit=120, ttft_s=0.3, output_speed=20, spawn_per_s=200, limit_s=8,
            search_turns=100, client_error=3,
        )  # fmt: skip
    assert verdicts(folder)[0] == (120, "fail"), reasons(folder)


# -- failures are rows -------------------------------------------------------------------------------------------------------


@pytest.mark.beside
@pytest.mark.parametrize(
    ("mode", "status", "words"),
    [("storm500", 500, "HTTP 500: EngineCore encountered an issue."), ("http429", 429, "HTTP 429: Rate limit reached")],
)
def test_a_storm_of_refusals_is_counted_row_by_row(tmp_path: Path, mode: str, status: int, words: str):
    write_plan(tmp_path, limit=1, search_turns=3)
    with faulty(mode, *after_preflight()) as url:
        ended = call(tmp_path, "run", "plan.toml", "--endpoint", url)
    assert ended.status == 3, ended.err
    folder = tmp_path / ended.folder
    rows = turns(folder)
    refused = rows.filter(pl.col("failure") == "http")
    assert set(refused["status"]) == {status}
    assert refused["detail"].str.contains(words, literal=True).all()
    judged = [line["judged"] for line in ledger(folder) if line["event"] == "judged"]
    window = json.loads(next(folder.glob("phases/*/phase.json")).read_bytes())
    opens_ns, ends_ns = window["window_start_ns"], window["window_end_ns"]
    measured = rows.filter(pl.col("due_ns").is_between(opens_ns, ends_ns, closed="left"))
    assert judged[0]["measured_turns"] == len(measured)
    assert judged[0]["failed_turns"] == (measured["failure"] == "http").sum() >= 2
    assert judged[0]["ttft_p95_s"] is None, "infinite"
    assert f" http {status}), at most" in reasons(folder)
    # and the person reads it, without opening a file
    assert f"one agent alone misses the service level: {judged[0]['failed_turns']} of" in " ".join(ended.out.split())
    assert f"last error: http: {words}" in ended.err
    gaps_ns = refused.sort("due_ns")["due_ns"].diff().drop_nulls()
    assert gaps_ns.min() >= 1_000_000_000, "a refused agent comes again after a second, not at once"


def test_a_stream_that_never_ends_is_a_failed_turn_and_the_run_ends(tmp_path: Path):
    """Turns are given up after TTFT limit + max_tokens / speed limit = at most 0.3 + 16 / 40 = 0.7 s."""
    write_plan(tmp_path, limit=1, ttft_s=0.3, output_speed=40, search_turns=1)
    with faulty("never-ends", *after_preflight()) as url:
        ended = call(tmp_path, "run", "plan.toml", "--endpoint", url)
    assert ended.status == 3, ended.err
    rows = turns(tmp_path / ended.folder)
    given_up = rows.filter(pl.col("failure") == "timeout")
    assert len(given_up) >= 1
    assert given_up["detail"].str.starts_with("no complete answer within").all()
    assert (given_up["output_events"] >= 3).all(), "what was seen of the answer is kept"
    assert re.search(r"\d+ timeout", reasons(tmp_path / ended.folder))


def test_a_phase_that_ends_before_any_answer_does_says_that_the_server_hangs(tmp_path: Path):
    """Patience of 30 + 16 / 1 s, a limit of 3 s: nothing can be said of this server but that it has not answered."""
    write_plan(tmp_path, limit=1, limit_s=3, search="invalid_repeats = 0")
    with faulty("stall", *after_preflight()) as url:
        ended = call(tmp_path, "run", "plan.toml", "--endpoint", url)
    assert ended.status == 4, ended.err
    assert re.search(
        r"look at the server's log \(1 answers were still open after [\d.]+ s and more\)",
        reasons(tmp_path / ended.folder),
    )
    assert "look at the server's log" in ended.out.replace("\n", " ")


@pytest.mark.beside
def test_a_server_that_dies_ends_the_run_as_what_it_is_and_the_run_can_go_on(tmp_path: Path):
    """Its last phase counts as it was measured; but no capacity is read from the silence after it."""
    write_plan(tmp_path, limit=2, search_turns=3)
    with faulty("dies", *after_preflight()) as url:
        ended = call(tmp_path, "run", "plan.toml", "--endpoint", url, "--json")
    assert ended.status == 5
    assert json.loads(ended.out)["error"]["kind"] == "EndpointError"
    assert re.fullmatch(
        rf"endpoint {url}: accepts no connections any more \(Connection refused\) after phase 0 at 1 agents, whose failed turns count, "
        r"a server that is up is needed: start it again, then `openagentperf run --resume \S+` goes on",
        ended.sentence,
    )
    folder = tmp_path / ended.folder
    assert not (folder / "result.json").exists()
    assert verdicts(folder) == [(1, "fail")]
    assert {"reset", "connect"} <= set(turns(folder)["failure"])
    assert bench.score(folder).exit_code == 3, "what was measured can be read"
    port = url.rpartition(":")[2].removesuffix("/v1")
    with faulty("ok", "--port", port):
        again = call(tmp_path, "run", "--resume", ended.folder)
    assert again.status == 3, again.err
    assert re.search(r"measured turns failed \(\d+ connect", " ".join(again.out.split())), "why it is 0, in the summary"
    assert ledger(folder)[-1]["event"] == "finished"


@pytest.mark.beside
def test_a_server_that_is_away_between_two_phases_costs_no_verdict(tmp_path: Path):
    """Killed while nothing is in flight: no turn fails, and no level is blamed for it."""

    def observe(progress: Progress) -> None:
        if progress.stage == "judge":
            with suppress(ProcessLookupError):
                os.kill(server, signal.SIGKILL)

    with faulty("ok") as url:
        server = workers(module="openagentperf.sim.faulty")[0]
        with pytest.raises(EndpointError, match="accepts no connections any more"):
            bench.run(plan(tmp_path, url), tmp_path / "runs", observe)
    folder = next((tmp_path / "runs").glob("2*"))
    assert verdicts(folder) == [(1, "pass")]


@pytest.mark.beside
def test_connections_that_die_when_used_again_are_redialled_and_counted(tmp_path: Path):
    write_corpus(tmp_path, trajectories(delay_ms=0))  # the next request is on its way before the goodbye has come
    write_plan(tmp_path, limit=1, certify_phases=1)
    with faulty("keepalive-race") as url:
        ended = call(tmp_path, "run", "plan.toml", "--endpoint", url)
    assert ended.status == 0, ended.err
    folder = tmp_path / ended.folder
    rows = turns(folder)
    assert set(rows["failure"]) <= {"", "aborted"}
    redialled = rows.filter(pl.col("connection") == "redialled")
    assert (redialled["failure"] == "").any()
    notes = [note for line in ledger(folder) if line["judged"] for note in line["judged"]["notes"]]
    counted = [int(found[1]) for note in notes if (found := re.match(r"(\d+) turns were dialled again", note))]
    assert 0 < sum(counted) <= len(redialled)


@pytest.mark.beside
def test_a_length_that_is_not_what_was_asked_for_fails_the_turn_on_the_exact_track(tmp_path: Path):
    write_plan(tmp_path, limit=1, track="exact", search_turns=3)
    with faulty("ignores-eos-not", *after_preflight("exact")) as url:
        ended = call(tmp_path, "run", "plan.toml", "--endpoint", url)
    assert ended.status == 3, ended.err
    rows = turns(tmp_path / ended.folder).filter(pl.col("failure") != "aborted")
    assert "wrong_length" in set(rows["failure"])
    assert re.search(r"\d+ wrong_length", reasons(tmp_path / ended.folder))


# -- a whole run against a server without limits -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def easy_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    folder = tmp_path_factory.mktemp("easy")
    write_plan(folder, limit=2)
    with faulty("ok") as url:
        ended = call(folder, "run", "plan.toml", "--endpoint", url, "--json")
    assert ended.status == 0, ended.err
    return folder / ended.folder, ended


@pytest.mark.beside
def test_a_server_without_limits_ends_at_the_search_s_own_limit(easy_run: tuple[Path, Ended]):
    folder, ended = easy_run
    found = json.loads(ended.out)["results"][0]
    assert (found["standing"], found["agents"], found["smallest_failing"]) == ("at_least", 2, None)
    assert found["why"] == "still passes at the search limit of 2 agents"
    assert verdicts(folder) == [(level, "pass") for level in (1, 2, 2, 2, 2)]


@pytest.mark.beside
def test_the_result_follows_from_its_rows_to_the_last_bit(
    easy_run: tuple[Path, Ended], capsys: pytest.CaptureFixture[str]
):
    folder, _ = easy_run
    ended = asked(capsys, "score", str(folder))
    assert (ended.status, ended.err) == (0, f"identical to {folder}/result.json\n")


def one_token_more(rows: pl.DataFrame, at: int) -> pl.DataFrame:
    more = pl.when(pl.int_range(pl.len()) == at).then(1).otherwise(0)
    return rows.with_columns(pl.col("output_tokens") + more)


def one_row_forgotten(rows: pl.DataFrame, at: int) -> pl.DataFrame:
    return rows.filter(pl.int_range(pl.len()) != at)


def one_failure_more(rows: pl.DataFrame, at: int) -> pl.DataFrame:
    mark = pl.when(pl.int_range(pl.len()) == at).then(pl.lit("reset")).otherwise(pl.col("failure"))
    return rows.with_columns(mark.alias("failure"))


@pytest.mark.beside
@pytest.mark.parametrize("tamper", [one_token_more, one_row_forgotten, one_failure_more])
def test_one_row_changed_is_a_result_that_differs(
    easy_run: tuple[Path, Ended], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    tamper: Callable[[pl.DataFrame, int], pl.DataFrame],
):  # fmt: skip
    folder = tmp_path / "run"
    shutil.copytree(easy_run[0], folder)
    phase = max((folder / "phases").iterdir())
    opens_ns = json.loads((phase / "phase.json").read_bytes())["window_start_ns"]
    rows = pl.read_parquet(phase / "turns.parquet")
    measured = int((rows["due_ns"] < opens_ns).sum())  # rows are in order of due: this is the first measured one
    tamper(rows, measured).write_parquet(phase / "turns.parquet")
    ended = asked(capsys, "score", str(folder))
    assert ended.status == 1, ended.err
    assert f"DIFFERENT from {folder}/result.json" in ended.err
    assert re.search(r"\$\.phases\[4\]\.\w+: result.json has .*, the rows give ", ended.err)


@pytest.mark.beside
@pytest.mark.parametrize("name", ["turns.parquet", "client.parquet", "phase.json"])
def test_a_phase_with_a_broken_file_is_named_and_nothing_is_guessed(
    easy_run: tuple[Path, Ended], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
):
    folder = tmp_path / "run"
    shutil.copytree(easy_run[0], folder)
    path = max(folder.glob(f"phases/*/{name}"))
    path.write_bytes(path.read_bytes()[:40])
    ended = asked(capsys, "score", str(folder))
    assert ended.status == 5
    assert str(path) in ended.sentence
    assert ended.sentence.endswith("restore the run folder")

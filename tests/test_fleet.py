"""Load workers as processes: who does what, what ends them, and what a phase says of one that died."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from openagentperf.client.clock import now_ns
from openagentperf.corpus.nonce import phase_nonce
from openagentperf.corpusjobs.prepare import prepare
from openagentperf.errors import CorpusError, EndpointError, StorageError
from openagentperf.load.collect import Collector
from openagentperf.load.fleet import Fleet, start_barrier_ns
from openagentperf.load.protocol import Drained, Setup
from openagentperf.plan import Workload
from openagentperf.records.phase import PhaseFacts, PhaseOrder, Quota
from openagentperf.rundir import FrameReader, frames_path
from openagentperf.seeds import Stream
from openagentperf.wire.chatrequest import fixed_head
from small_runs import alive, faulty, workers, write_corpus

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with faulty("ok") as url:
        yield url


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    return prepare(Workload(corpus=str(write_corpus(folder))), 1, folder / "compiled").path


def setup(url: str, corpus: Path, workers: int = 1) -> Setup:
    return Setup(
        worker=0, workers=workers, urls=(url,), ca_file="", headers={"Content-Type": "application/json"}, exact=True,
        fixed_head=fixed_head(
            model="openagentperf-sim", exact=True, temperature=0, continuous_usage=False, extra={}
        ),
        max_output_tokens=16, corpus=str(corpus), idle_reuse_s=4,
    )  # fmt: skip


def order(agents: int = 2, index: int = 0, **more: float) -> PhaseOrder:
    usual = {"spawn_per_s": 50.0, "settle_s": 0.1, "measure_s": 0.3, "limit_s": 10.0, "turn_timeout_s": 5.0}
    return PhaseOrder(
        index=index, agents=agents, kind="search", seed=index, phase_nonce=phase_nonce(Stream(index, "nonce")), nonce_key=b"k" * 32,
        start_ns=start_barrier_ns(agents), **(usual | more),
    )  # fmt: skip


Tick = Callable[[Collector, PhaseOrder, str], None]


def a_phase(fleet: Fleet, folder: Path, quota: Quota = Quota(4, 0), tick: Tick = lambda *_: None, **what: float):  # noqa: B008
    fleet.prepare()
    made = order(**what)
    made = msgspec.structs.replace(made, start_ns=fleet.starts_ns(made.agents))
    place = folder / f"phase-{made.index}"
    place.mkdir()
    return fleet.run(made, place, quota, tick)


def test_agents_are_shared_out_by_arithmetic_and_every_row_is_in_the_files(url: str, corpus: Path, tmp_path: Path):
    with Fleet(setup(url, corpus, workers=2), tmp_path) as fleet:
        started = workers()
        facts, collector = a_phase(fleet, tmp_path, agents=5)
    assert not any(map(alive, started))
    assert facts.faults == ()
    assert {(row.worker, row.agent) for row in collector.rows} == {(k % 2, k) for k in range(5)}
    stored = sum(len(list(FrameReader(frames_path(tmp_path / "phase-0", k)).read())) for k in (0, 1))
    assert stored == len(collector.rows) + len(collector.samples)
    assert {row.failure for row in collector.rows} <= {"", "aborted"}


def measured(facts: PhaseFacts, collector: Collector) -> int:
    return sum(facts.window_start_ns <= row.due_ns < facts.window_end_ns for row in collector.rows)


def test_the_window_stays_open_for_its_quota_and_every_turn_in_it_closes_by_itself(
    url: str, corpus: Path, tmp_path: Path
):
    with Fleet(setup(url, corpus), tmp_path) as fleet:
        facts, collector = a_phase(fleet, tmp_path, Quota(40, 3))
    assert not facts.hit_limit
    assert facts.window_end_ns - facts.window_start_ns >= 0.3e9
    assert measured(facts, collector) >= 40
    assert collector.completed_trajectories >= 3
    broken_off = [row for row in collector.rows if row.failure == "aborted"]
    assert all(row.due_ns >= facts.window_end_ns for row in broken_off), "the load went on until the last had drained"


def test_a_quota_that_cannot_be_met_ends_at_the_limit(url: str, corpus: Path, tmp_path: Path):
    with Fleet(setup(url, corpus), tmp_path) as fleet:
        facts, collector = a_phase(fleet, tmp_path, Quota(100_000, 0), limit_s=2.0)
    assert 0 < measured(facts, collector) < 100_000
    assert facts.window_end_ns < facts.order.start_ns + 2e9, "before the limit: what is in flight may still end"
    assert not [row for row in collector.rows if row.failure == "aborted" and row.due_ns < facts.window_end_ns]


@pytest.mark.parametrize("stage", ["ramp", "measure", "drained"])
def test_a_worker_that_is_killed_is_a_fault_of_its_phase_and_a_new_one_runs_the_next(
    url: str, corpus: Path, tmp_path: Path, stage: str
):
    """`drained`: after it has said that all its measured turns have closed, before it is told to stop. Its last rows are lost even then."""
    killed: list[int] = []

    def kill(_collector: Collector, _order: PhaseOrder, at: str) -> None:
        if at == "drain" and all(process.heard(Drained) for process in fleet._workers):
            at = "drained"
        if at == stage and not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    with Fleet(setup(url, corpus, workers=2), tmp_path) as fleet:
        before = set(workers())
        facts, collector = a_phase(fleet, tmp_path, tick=kill, spawn_per_s=4)
        assert len(facts.faults) == 1
        assert "died (see " in facts.faults[0]
        after, rows = a_phase(fleet, tmp_path, index=1)
        assert len(set(workers()) & before) == 1, "the other one went on"
        assert len(workers()) == 2
    assert after.faults == ()
    assert {row.worker for row in rows.rows} == {0, 1}
    assert all(row.failure in ("", "aborted") for row in collector.rows), "what the dead one had written is kept"


def test_a_worker_without_its_corpus_says_so_and_nobody_is_left(url: str, tmp_path: Path):
    nothing = tmp_path / "nothing.oapc"
    with pytest.raises(CorpusError, match=r"nothing\.oapc"), Fleet(setup(url, nothing, workers=2), tmp_path):
        pass
    assert not workers()


def test_an_endpoint_that_cannot_be_called_says_so_and_nobody_is_left(corpus: Path, tmp_path: Path):
    wrong = setup("http://127.0.0.1:99999/v1", corpus)
    with pytest.raises(EndpointError, match="is not a URL that can be called"), Fleet(wrong, tmp_path):
        pass
    assert not workers()


def test_rows_that_cannot_be_written_end_the_phase_as_what_it_is(url: str, corpus: Path, tmp_path: Path):
    with Fleet(setup(url, corpus), tmp_path) as fleet:
        with pytest.raises(StorageError, match=r"missing/rows-w0.frames: cannot be written \(No such file"):
            fleet.run(order(), tmp_path / "missing", Quota(1, 0), lambda *_: None)
        started = workers()
    assert not any(map(alive, started))


def test_a_log_that_cannot_be_written_is_a_storage_error(url: str, corpus: Path, tmp_path: Path):
    with pytest.raises(StorageError, match=r"worker-0.log: cannot be written"):
        Fleet(setup(url, corpus), tmp_path / "missing").__enter__()
    assert not workers()


def test_whatever_is_raised_inside_ends_the_workers(url: str, corpus: Path, tmp_path: Path):
    started: list[int] = []

    def interrupt(_collector: Collector, _order: PhaseOrder, at: str) -> None:
        if at == "measure":
            started.extend(workers())
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt), Fleet(setup(url, corpus, workers=2), tmp_path) as fleet:
        a_phase(fleet, tmp_path, tick=interrupt)
    assert len(started) == 2
    assert not any(map(alive, started))


def test_a_turn_that_takes_too_long_is_given_up_in_the_phase(corpus: Path, tmp_path: Path):
    with faulty("stall", "--after", "0") as url, Fleet(setup(url, corpus), tmp_path) as fleet:
        facts, collector = a_phase(fleet, tmp_path, Quota(2, 0), turn_timeout_s=0.3, limit_s=8.0)
    given_up = [row for row in collector.rows if row.failure == "timeout"]
    assert len(given_up) >= 2
    assert all(row.closed_ns - row.due_ns >= 0.3e9 for row in given_up)
    assert all(row.output_events == 3 for row in given_up)
    assert facts.ended_ns <= now_ns()
    assert msgspec.json.decode(msgspec.json.encode(facts), type=PhaseFacts) == facts

"""Load workers on the nodes of a Ray cluster: the same turns as on one host, whatever their clocks say, and what the loss of one does."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl
import pytest

from benchmarks.ray_nodes import Started, cluster
from openagentperf.corpusjobs.prepare import prepare
from openagentperf.plan import Workload
from openagentperf.records.phase import PhaseFacts
from ray_scenes import AGENTS, WORKERS, Told, Turn, a_phase
from small_runs import LIMIT_S, alive, await_that, call, faulty, going, ledger, said, verdicts, write_corpus, write_plan

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the package `ray` (extra `ray`) is not installed"),
]  # fmt: skip
TESTS = Path(__file__).parent.parent
HOUR_NS = 3_600_000_000_000
WORKER, NODE = "openagentperf.load.worker", "ray::Node"


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Started]:
    with cluster(2, 2) as started:
        yield started


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with faulty("ok") as url:
        yield url


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    return prepare(Workload(corpus=str(write_corpus(folder))), 1, folder / "compiled").path


def scene(
    on: Started, url: str, corpus: Path, folder: Path, skew_ns: int = 0, rate: float = 0, phases: int = 1
) -> subprocess.Popen[str]:
    words = [on.address, url, str(corpus), str(folder), str(skew_ns), str(rate), str(phases)]
    return subprocess.Popen(
        [sys.executable, str(TESTS / "ray_scenes.py"), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> list[Told]:
    with process:
        out, err = process.communicate(timeout=2 * LIMIT_S)
    assert process.returncode == 0, err
    return msgspec.json.decode(out.splitlines()[-1], type=list[Told])


def lives(told: Told) -> list[list[Turn]]:
    """The turns of each agent that ended by themselves."""
    return [[turn for turn in told.turns if turn[1] == agent and not turn[-1]] for agent in range(AGENTS)]


def test_hosts_with_clocks_of_their_own_run_the_turns_that_one_host_runs(
    two_nodes: Started, url: str, corpus: Path, tmp_path: Path
):
    """Both nodes' clocks are an hour ahead: the rows are in the run's time all the same."""
    (far,) = ended(scene(two_nodes, url, corpus, tmp_path / "far", skew_ns=HOUR_NS))
    (near,) = a_phase(None, url, str(corpus), tmp_path / "near")
    assert (far.facts.faults, near.facts.hosts) == ((), ())
    for there, here in zip(lives(far), lives(near), strict=True):
        both = min(len(there), len(here))
        assert both >= 5
        assert there[:both] == here[:both]
    order = far.facts.order
    assert min(far.due_ns) >= order.start_ns - 2e6, "timers round to 1 ms"
    assert min(far.due_ns) < far.facts.window_end_ns, "not an hour later"
    assert max(far.due_ns) < far.facts.ended_ns
    assert all(order.start_ns - 1e9 < at < far.facts.ended_ns + 1e9 for at in far.samples_ns)
    assert far.facts.min_active_share == 1.0
    assert [host.workers for host in far.facts.hosts] == [(0,), (1,)]
    assert len({host.facts.name for host in far.facts.hosts}) == 2
    for host in far.facts.hosts:
        assert abs(host.offset_ns - HOUR_NS) <= host.error_ns
        assert host.facts.cores
        assert host.facts.memory_bytes > 1 << 30
    assert msgspec.json.decode(msgspec.json.encode(far.facts), type=PhaseFacts) == far.facts
    assert not two_nodes.processes(WORKER), "nothing is left on the nodes"
    assert not two_nodes.processes(NODE)


def test_a_clock_that_runs_away_is_told_by_how_much(two_nodes: Started, url: str, corpus: Path, tmp_path: Path):
    """2 % fast: over a phase of 2 s and more it gains at least 40 ms."""
    (told,) = ended(scene(two_nodes, url, corpus, tmp_path / "fast", rate=0.02))
    assert all(40e6 < host.drift_ns < HOUR_NS for host in told.facts.hosts)


@pytest.mark.parametrize("what", [pytest.param(WORKER, marks=pytest.mark.slow), NODE])
def test_what_is_killed_is_a_fault_of_its_phase_and_the_next_one_runs(
    two_nodes: Started, url: str, corpus: Path, tmp_path: Path, what: str
):
    """A worker, or all that there is on one of the nodes."""
    process = scene(two_nodes, url, corpus, tmp_path / "killed", phases=2)
    await_begun(process)
    os.kill(two_nodes.processes(what)[0], signal.SIGKILL)
    first, second = ended(process)
    assert_lost_and_made_good(first, second, a_host=what == NODE)
    assert len(second.facts.hosts) == 2, "each on its node again"


@pytest.mark.slow
def test_a_node_that_is_gone_leaves_its_share_to_the_other(url: str, corpus: Path, tmp_path: Path):
    with cluster(2, 2) as started:
        process = scene(started, url, corpus, tmp_path / "gone", phases=2)
        await_begun(process)
        started.kill_a_node()
        first, second = ended(process)
    assert_lost_and_made_good(first, second, a_host=True)
    assert [host.workers for host in second.facts.hosts] == [(0, 1)]


def await_begun(process: subprocess.Popen[str]) -> None:
    lines: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        if line == "begun\n":
            return
        lines.append(line)
    pytest.fail("no phase began\n" + "".join(lines))


def assert_lost_and_made_good(first: Told, second: Told, a_host: bool) -> None:
    (fault,) = first.facts.faults
    log = Path(fault.partition(" died (see ")[2].removesuffix(")"))
    assert ("was lost" in log.read_text()) == a_host
    assert second.facts.faults == ()
    assert {turn[0] for turn in second.turns} == set(range(WORKERS))


def test_a_run_whose_worker_is_killed_repeats_the_phase_and_answers(two_nodes: Started, url: str, tmp_path: Path):
    write_plan(tmp_path, search_measure_s=2)
    words = ("run", "plan.toml", "--endpoint", url, "--workers", "2", "--ray", two_nodes.address)
    with going(tmp_path, *words) as process:
        started = await_that(lambda: two_nodes.processes(WORKER), "a load worker starts", LIMIT_S)
        folder = Path(
            await_that(lambda: next(iter((tmp_path / "runs").glob("2*/ledger.jsonl")), None), "a run begins")
        ).parent
        await_that(lambda: any(line["event"] == "begun" for line in ledger(folder)), "a phase begins")
        await_that(lambda: list(folder.glob("phases/*/rows-w*.frames")), "rows come")
        os.kill(started[0], signal.SIGKILL)
        process.wait(2 * LIMIT_S)
        assert process.returncode == 0, said(tmp_path)
    (first, second, *_) = verdicts(folder)
    assert (first[0], first[1]) == (second[0], "invalid")
    assert second[1] == "pass"
    assert not any(map(alive, started))


def test_an_interrupted_run_leaves_nothing_on_the_nodes(two_nodes: Started, url: str, tmp_path: Path):
    write_plan(tmp_path, search_measure_s=30, limit_s=60)
    with going(
        tmp_path, "run", "plan.toml", "--endpoint", url, "--workers", "2", "--ray", two_nodes.address
    ) as process:
        await_that(lambda: list(tmp_path.glob("runs/*/phases/*/rows-w*.frames")), "rows come", 2 * LIMIT_S)
        process.send_signal(signal.SIGINT)
        process.wait(LIMIT_S)
        assert process.returncode == 130, said(tmp_path)
    assert not two_nodes.processes(WORKER)
    assert not two_nodes.processes(NODE)


@pytest.mark.slow
def test_a_run_on_the_cluster_gives_the_result_of_a_run_on_this_host(two_nodes: Started, url: str, tmp_path: Path):
    """Same plan, same seed, same workers: the same levels, verdicts and turns."""
    write_plan(tmp_path)
    words = ("run", "plan.toml", "--endpoint", url, "--workers", "2")
    here = call(tmp_path, *words, "--out", "here")
    there = call(tmp_path, *words, "--out", "there", "--ray", two_nodes.address)
    assert (here.status, there.status) == (0, 0), here.err + there.err
    assert verdicts(tmp_path / here.folder) == verdicts(tmp_path / there.folder)
    phases = [sorted((tmp_path / run.folder / "phases").iterdir()) for run in (here, there)]
    what = ["worker", "agent", "replay", "trajectory", "turn", "prompt_tokens", "output_tokens", "request_bytes"]
    for one, other in zip(*phases, strict=True):
        assert one.name == other.name
        turns = [pl.read_parquet(phase / "turns.parquet").filter(pl.col("failure") == "") for phase in (one, other)]
        for agent in range(turns[0]["agent"].max() + 1):
            a, b = (rows.filter(pl.col("agent") == agent).sort("due_ns").select(what).rows() for rows in turns)
            assert min(len(a), len(b)) >= 2
            assert a[: len(b)] == b[: len(a)]
        (on_a, on_b) = msgspec.json.decode((other / "phase.json").read_bytes(), type=PhaseFacts).hosts
        assert (on_a.workers, on_b.workers) == ((0,), (1,))


@pytest.mark.slow
def test_a_sweep_on_the_cluster_gives_the_rows_of_one_on_this_host(two_nodes: Started, tmp_path: Path):
    (tmp_path / "tiers.toml").write_text('name = "own"\n[[tier]]\nname = "own"\noutput_speed = 150\nttft_s = 5\n')
    words = ("whatif", "--tiers", "tiers.toml", "--corpus", "demo", "--max-context", "4096", "--limit", "4", "--system", "hgx-h100",
             "--model", "gpt-oss-120b", "--cache", "on,off", "--json")  # fmt: skip
    here, there = call(tmp_path, *words, "--jobs", "1"), call(tmp_path, *words, "--ray", two_nodes.address)
    assert (here.status, there.status) == (0, 0), here.err + there.err
    assert there.out == here.out


# -- what is told before the first byte --------------------------------------------------------------------------------------


def test_an_address_that_nobody_answers_is_an_error_at_once(tmp_path: Path):
    ended = call(tmp_path, "run", "--endpoint", "http://127.0.0.1:1/v1", "--rigor", "quick", "--ray", "127.0.0.1:1")
    assert ended.status == 5
    assert ended.sentence.startswith("--ray 127.0.0.1:1: accepts no connections (")
    assert "ray start --head" in ended.sentence
    assert not (tmp_path / "runs").exists()


def test_without_ray_the_error_says_what_to_install(tmp_path: Path):
    """A Python that does not find it: the tests' own has it, for the rest of this file."""
    program = (
        "import sys; sys.modules['ray'] = None; from openagentperf.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["run", "--endpoint", "http://127.0.0.1:1/v1", "--rigor", "quick", "--ray", "auto"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=LIMIT_S
    )  # fmt: skip
    assert done.returncode == 2
    assert "error: --ray: the package `ray` is not installed" in done.stderr
    assert "pip install 'openagentperf[ray]', here and on the cluster's nodes" in done.stderr


def test_the_embedded_target_is_out_of_the_nodes_reach(tmp_path: Path):
    ended = call(tmp_path, "run", "--ray", "auto")
    assert ended.status == 2
    assert ended.sentence.startswith("--ray: stands beside the embedded target")

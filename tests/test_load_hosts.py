"""Load hosts without a cluster's software: times of another host, who is refused, and what becomes of the share of one that is lost."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf.corpusjobs.prepare import prepare
from openagentperf.errors import EndpointError, InfrastructureError, PlanError, UsageError, WorkerError
from openagentperf.load import line, node
from openagentperf.load.budget import SPARE_FILES, Limits, Room
from openagentperf.load.cluster import NodeAt, refuse
from openagentperf.load.fleet import Fleet
from openagentperf.load.hostfacts import host_facts
from openagentperf.load.line import Answering, HostLost, Line
from openagentperf.load.local import ThisHost
from openagentperf.load.node import Node
from openagentperf.load.place import Share, hosts_of
from openagentperf.load.remote import Remote, drifted
from openagentperf.plan import Endpoint, Load, Plan, Workload
from openagentperf.planfile import tier_presets
from openagentperf.records.hosts import LoadHost
from openagentperf.records.turns import ClientSample, RawTurn, Shift
from openagentperf.rundir import FrameReader, FrameWriter
from openagentperf.units import NS_PER_MS
from phases import first, judged, spread
from small_runs import await_that, faulty, workers, write_corpus
from test_endpoints import A, B
from test_fleet import a_phase, setup

HOUR_NS = 3_600_000_000_000
OWN = host_facts("this host", 1)


class OneProcess:
    """Implements load.cluster.Cluster: nodes of this very process, which can be lost."""

    def __init__(self, *names: str, skew_ns: int = 0, silent: str = "") -> None:
        """`silent`: why none of them ever answers."""
        self.up = {f"id-{name}": NodeAt(name, "127.0.0.1") for name in names}
        self._skew_ns, self._silent = skew_ns, silent
        self._nodes: dict[str, Node] = {}
        self.closed = False

    def nodes(self) -> Mapping[str, NodeAt]:
        return self.up

    def place(self, name: str, cpus: int) -> tuple[str, Node]:
        self._nodes[name] = Node(self._skew_ns)
        return name, self._nodes[name]

    def call(self, handle: tuple[str, Node], method: str, *args: Any) -> Any:
        name, host = handle
        if self._silent:
            return HostLost(self._silent)
        return getattr(host, method)(*args) if name in self.up else HostLost(f"{name} is down")

    def get(self, reply: Any, timeout_s: float) -> Any:
        if isinstance(reply, HostLost):
            raise reply
        return reply

    def put(self, data: bytes) -> bytes:
        return data

    def drop(self, handle: Any) -> None: ...

    def lose(self, name: str) -> None:
        if self.up.pop(name, None):
            self._nodes[name].close()

    def close(self) -> None:
        self.closed = True
        for host in self._nodes.values():
            host.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with faulty("ok") as url:
        yield url


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    return prepare(Workload(corpus=str(write_corpus(folder))), 1, folder / "compiled").path


# -- times of another host ---------------------------------------------------------------------------------------------------

RAW = RawTurn(
    worker=0, agent=1, replay=0, trajectory=2, turn=3, last=False, due_ns=100, sent_ns=101, closed_ns=130, times_ns=b"", sizes=b"",
    lags_ns=b"", data=b"x", failure="", detail="", connection="new", request_bytes=9,
)  # fmt: skip
SAMPLE = ClientSample(
    worker=0, t_ns=150, loop_lag_max_ns=5, cpu_ns=6, gc_pause_max_ns=7, active_agents=1, in_flight=1, clock_offset_ns=8
)


@given(st.lists(st.integers(-(2**60), 2**60), max_size=3), st.lists(st.integers(0, 2**61), max_size=5))
def test_every_time_of_a_shifted_file_is_moved_and_nothing_else(
    tmp_path_factory: Any, shifts: list[int], reads: list[int]
):
    path = tmp_path_factory.mktemp("frames") / "rows-w0.frames"
    packed = b"".join(t.to_bytes(8, "little", signed=True) for t in reads)
    raw = msgspec.structs.replace(RAW, times_ns=packed)
    with closing(FrameWriter(path)) as writer:
        writer.put_all((raw, *map(Shift, shifts), raw, SAMPLE))
    by = sum(shifts)
    before, after, sample = FrameReader(path).read()
    assert before == raw
    assert sample == msgspec.structs.replace(SAMPLE, t_ns=150 + by)
    assert list(memoryview(after.times_ns).cast("q")) == [t + by for t in reads]  # type: ignore[union-attr]
    moved = msgspec.structs.replace(raw, due_ns=100 + by, sent_ns=101 + by, closed_ns=130 + by)
    assert msgspec.structs.replace(after, times_ns=packed) == moved


def test_a_turn_that_was_never_sent_stays_so(tmp_path: Path):
    with closing(FrameWriter(tmp_path / "f")) as writer:
        writer.put_all((Shift(7), msgspec.structs.replace(RAW, sent_ns=None)))
    (row,) = FrameReader(tmp_path / "f").read()
    assert (row.sent_ns, row.due_ns) == (None, 107)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("offset_ns", "error_ns", "drift_ns", "worst_ns"),
    [
        (1000, 4, 4, 9),  # as it was: only the error of the second reading on top of the first's 5
        (1300, 4, 304, 309),  # 300 ahead of where it was
        (700, 4, 304, 309),  # or behind
        (None, 0, 0, 5),  # lost: what was known before
    ],
)
def test_a_clock_s_worst_error_over_a_phase(offset_ns: int | None, error_ns: int, drift_ns: int, worst_ns: int):
    before = LoadHost(facts=OWN, workers=(0,), offset_ns=1000, error_ns=5)
    after = None if offset_ns is None else LoadHost(facts=OWN, workers=(0,), offset_ns=offset_ns, error_ns=error_ns)
    told = drifted(before, after)
    assert (told.offset_ns, told.drift_ns, told.worst_ns) == (1000, drift_ns, worst_ns)


@pytest.mark.parametrize(("error_ms", "drift_ms", "verdict"), [(4, 6, "pass"), (4, 6.5, "invalid"), (11, 0, "invalid")])
def test_a_host_whose_clock_may_be_too_far_off_makes_the_phase_invalid(error_ms: float, drift_ms: float, verdict: str):
    host = LoadHost(
        facts=msgspec.structs.replace(OWN, name="b"), workers=(0,), offset_ns=HOUR_NS, error_ns=round(error_ms * NS_PER_MS),
        drift_ns=round(drift_ms * NS_PER_MS),
    )  # fmt: skip
    told = first(judged(spread(100), hosts=(host,)))
    assert told.verdict == verdict
    said = f"clock offset: load host b may be {error_ms + drift_ms:g} ms off the run's clock"
    assert [said in reason for reason in told.reasons] == ([] if verdict == "pass" else [True])


# -- the line to a host ------------------------------------------------------------------------------------------------------


@pytest.mark.e2e
def test_a_line_answers_whoever_knows_the_token_and_nobody_else():
    asked: list[Any] = []

    def exchange(posts: Any) -> Any:
        asked.append(posts)
        return [(3, b"said", b"x" * 200_000, False, b"")]

    gone: list[int] = []
    answering = Answering("127.0.0.1", exchange, lambda: 42, lambda: gone.append(1))
    answering.start()
    with closing(Line("127.0.0.1", answering.port, b"?" * 32)) as stranger, pytest.raises(HostLost):
        stranger.heard(20)
    assert not gone
    with closing(Line("127.0.0.1", answering.port, answering.token)) as mine:
        assert mine.clock_ns(20) == 42
        mine.post([(3, b"a"), (4, b"b")])
        assert mine.heard(20) == [(3, b"said", b"x" * 200_000, False, b"")]
        assert asked == [[(3, b"a"), (4, b"b")]]
        answering.close()
        with pytest.raises(HostLost):
            mine.clock_ns(20)
    assert not answering.is_alive()
    assert gone == [1]


@pytest.mark.e2e
def test_a_host_that_is_silent_is_lost():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        closing(Line("127.0.0.1", server.getsockname()[1], b"")) as mine,
        pytest.raises(HostLost, match="no answer within 0 s"),
    ):
        mine.clock_ns(0.05)


# -- who is refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": "0.0"}, "has openagentperf 0.0, this host"),
        ({"code": "f" * 16}, "has the code of openagentperf ffff"),
        ({"transport": "another"}, "has transport another"),
        ({"python": "3.9.2"}, "has Python 3.9, this host 3."),
    ],
)
def test_a_host_that_is_not_alike_is_refused(change: dict[str, Any], words: str):
    other = msgspec.structs.replace(OWN, name="b", **change)
    with pytest.raises(UsageError, match="load host b: " + words):
        refuse(OWN, other, ())


def test_a_host_that_lacks_a_core_of_the_plan_is_refused():
    other = msgspec.structs.replace(OWN, name="b", cores=(0, 1))
    refuse(OWN, other, (1,))
    with pytest.raises(PlanError, match="names core 5, which a worker on load host b may not use, some of 0, 1 were"):
        refuse(OWN, other, (1, 5))


def test_a_cluster_without_a_cpu_is_an_error():
    with pytest.raises(InfrastructureError, match="no node of the cluster has a CPU to give"):
        Remote(OneProcess(), 1)


@pytest.mark.parametrize(
    ("silent", "error", "words"),
    [
        ("no answer within 60 s", InfrastructureError,
         r"load host a: started no worker: no answer within 60 s, 2 free CPUs were needed within 60 s: see `ray status`"),
        ("ModuleNotFoundError: No module named 'openagentperf'", UsageError,
         r"load host a: has no openagentperf in the Python that Ray runs there, the same version as here is needed: install"),
    ],
)  # fmt: skip
def test_a_node_that_starts_nothing_is_named_with_what_to_do(silent: str, error: type[Exception], words: str):
    cluster = OneProcess("a", silent=silent)
    with pytest.raises(error, match=words):
        Remote(cluster, 2)
    assert cluster.closed


# -- a phase over hosts ------------------------------------------------------------------------------------------------------


@pytest.mark.e2e
def test_workers_stand_on_the_hosts_in_turn_and_rows_come_in_the_run_s_time(url: str, corpus: Path, tmp_path: Path):
    with closing(Remote(OneProcess("a", "b", "c", skew_ns=-HOUR_NS), 5)) as hosts:
        assert [(on.facts.name, on.workers) for on in hosts.placed(5)] == [("a", (0, 3)), ("b", (1, 4)), ("c", (2,))]
        assert [check.status for check in hosts.checks()] == ["ok"]
        with Fleet(setup(url, corpus, workers=5), tmp_path, hosts) as fleet:
            started = workers()
            facts, collector = a_phase(fleet, tmp_path, agents=7)
        assert len(started) == 5
    assert not workers()
    assert facts.faults == ()
    assert {(row.worker, row.agent) for row in collector.rows} == {(k % 5, k) for k in range(7)}
    assert facts.order.start_ns - 2 * NS_PER_MS <= min(row.due_ns for row in collector.rows), "timers round to 1 ms"
    assert max(row.closed_ns for row in collector.rows) <= facts.ended_ns
    assert [host.facts.name for host in facts.hosts] == ["a", "b", "c"]
    assert all(abs(host.offset_ns + HOUR_NS) <= host.error_ns for host in facts.hosts)


@pytest.mark.e2e
def test_rows_come_in_batches_and_before_the_word_that_there_are_no_more(
    url: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A worker's last row is the sample that it takes when it is stopped."""
    monkeypatch.setattr(line, "BATCH_BYTES", 8_000)
    with closing(Remote(OneProcess("a"), 2)) as hosts, Fleet(setup(url, corpus, workers=2), tmp_path, hosts) as fleet:
        facts, collector = a_phase(fleet, tmp_path, agents=4)
    assert facts.faults == ()
    assert sum(path.stat().st_size for path in (tmp_path / "phase-0").glob("rows-w*.frames")) > 3 * 2 * 8_000
    assert {sample.worker for sample in collector.samples if sample.t_ns >= facts.window_end_ns} == {0, 1}


def test_a_batch_that_was_taken_is_given_back_to_the_disk(tmp_path: Path):
    path = tmp_path / "rows-w0.frames"
    path.write_bytes(b"x" * (1 << 20))
    before = path.stat().st_blocks
    seat = node._Seat(None)  # type: ignore[arg-type]
    seat.begin(path)
    assert seat.new() == (b"x" * (1 << 20), False)
    assert path.stat().st_size == 1 << 20
    with path.open("ab") as file:
        file.write(b"y")
    assert seat.new() == (b"y", False)
    if path.stat().st_blocks == before:
        pytest.skip("this file system frees no part of a file")
    assert path.stat().st_blocks <= 8
    seat.forget()
    assert seat.new() == (b"", False)


@pytest.mark.e2e
def test_the_share_of_a_host_that_is_lost_goes_to_those_that_are_left(url: str, corpus: Path, tmp_path: Path):
    cluster = OneProcess("a", "b")

    def lose_b(_collector: Any, _order: Any, stage: str) -> None:
        if stage == "measure":
            cluster.lose("id-b")

    with closing(Remote(cluster, 2)) as hosts, Fleet(setup(url, corpus, workers=2), tmp_path, hosts) as fleet:
        facts, _ = a_phase(fleet, tmp_path, tick=lose_b)
        assert facts.faults == (f"load worker 1 died (see {tmp_path / 'worker-1.log'})",)
        assert (tmp_path / "worker-1.log").read_text() == "load host b was lost: it closed the connection\n"
        facts, rows = a_phase(fleet, tmp_path, index=1, agents=4)
        assert facts.faults == ()
        assert [(host.facts.name, host.workers) for host in facts.hosts] == [("a", (0, 1))]
        assert {row.worker for row in rows.rows} == {0, 1}
        cluster.lose("id-a")
        with pytest.raises(WorkerError, match="load hosts: none is left"):
            fleet.prepare()


@pytest.mark.e2e
def test_an_endpoint_that_a_host_cannot_reach_is_named_before_any_load(corpus: Path, tmp_path: Path):
    with closing(Remote(OneProcess("a"), 1)) as hosts:
        nowhere = setup("http://127.0.0.1:1/v1", corpus)
        with pytest.raises(EndpointError, match=r"load host a: http://127.0.0.1:1/v1 accepts no connection from here"):
            Fleet(nowhere, tmp_path, hosts).__enter__()


@pytest.mark.e2e
def test_a_host_that_is_cut_off_from_its_run_makes_no_load_any_more(url: str, corpus: Path, tmp_path: Path):
    with closing(Remote(OneProcess("a"), 2)) as hosts, Fleet(setup(url, corpus, workers=2), tmp_path, hosts):
        assert len(workers()) == 2
        hosts._hosts[0].line.close()
        await_that(lambda: not workers(), "its workers end")


def test_orders_that_come_too_late_are_a_fault_in_words():
    with closing(Remote(OneProcess("a"), 1)) as hosts:
        assert "ms after the start" in hosts.late(0)
        assert hosts.late(1 << 62) == ""


# -- what the hosts can hold -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("its", "files", "ports"),
    [
        ((0, 2), 334, 334),  # of 1,000 agents on three workers: 334 and 333, half of them to each address
        ((1,), 333, 167),
    ],
)
def test_a_host_needs_room_for_its_own_workers(its: tuple[int, ...], files: int, ports: int):
    room = Room(1, 3, [A, B], Limits(files=1 << 20, ports=1 << 16), "b", its)
    assert room.needs(1000) == (files + SPARE_FILES, ports)
    short = Room(1, 3, [A, B], Limits(files=1 << 20, ports=ports - 1), "b", its)
    with pytest.raises(InfrastructureError, match=f"b has {ports - 1} local ports"):
        short.check(1000)


class Known(ThisHost):
    """Hosts with ceilings."""

    def __init__(self, *known: tuple[float | None, tuple[int, ...]]) -> None:
        super().__init__()
        self._known = known

    def placed(self, workers: int):
        (own,) = super().placed(workers)
        return tuple(
            msgspec.structs.replace(
                own, facts=msgspec.structs.replace(own.facts, ceiling_tokens_per_s=known), workers=its
            )
            for known, its in self._known
        )


@pytest.mark.parametrize(
    ("known", "workers", "ceiling"),
    [
        ([(20_000.0, (0, 1))], 2, 20_000),
        ([(20_000.0, (0,)), (20_000.0, (1,))], 2, 40_000),
        ([(20_000.0, (0, 2)), (8_000.0, (1,))], 3, 24_000),  # b, with a third of the load, is at its 8,000 first
        ([(20_000.0, (0,)), (None, (1,))], 2, 40_000),  # what is known binds
        ([(None, (0,)), (None, (1,))], 2, None),
    ],
)
def test_the_host_that_is_the_first_at_its_ceiling_decides(
    known: list[tuple[float | None, tuple[int, ...]]], workers: int, ceiling: float | None
):
    assert Share(Known(*known), workers, 1, [A]).ceiling_tokens_per_s() == ceiling


def test_without_a_cluster_the_load_is_made_here():
    plan = Plan(tiers=tier_presets()["agentperf"], load=Load(workers=2))
    with hosts_of(plan, "") as hosts:
        assert [on.workers for on in hosts.placed(2)] == [(0, 1)]


@pytest.mark.parametrize(
    ("endpoint", "address", "error", "words"),
    [
        (None, "auto", UsageError, "--ray: stands beside the embedded target"),
        ("http://127.0.0.1:1/v1", "127.0.0.1:1", InfrastructureError, "--ray 127.0.0.1:1: accepts no connections"),
    ],
)
def test_a_cluster_that_cannot_serve_is_an_error_before_anything(
    endpoint: str | None, address: str, error: type[Exception], words: str
):
    plan = Plan(tiers=tier_presets()["agentperf"], endpoint=Endpoint(url=endpoint) if endpoint else None)
    with pytest.raises(error, match=words), hosts_of(plan, address):
        pass

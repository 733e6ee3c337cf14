"""How much this host's client can drive exactly: the null target, a level against its log, what is remembered, and who refuses by it."""

from __future__ import annotations

import http.client
import json
import socket
import struct
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pytest

from openagentperf import planfile, selfcheck
from openagentperf.cli.main import main
from openagentperf.cli.selfcheck import lines
from openagentperf.errors import InfrastructureError
from openagentperf.load import ceiling
from openagentperf.records.ceiling import Ceiling, Level
from openagentperf.score.columns import Turns
from openagentperf.sim.null import _OPENING, TOKEN, NullServer, _ending, _Stream
from openagentperf.sim.spawn import spawned
from phases import OPENS_S, facts, first, judged, ns, row, samples, spread

LEVEL = Level(
    agents=64, tokens_per_s=2500, requests_per_s=25, ttft_p50_off_s=0.0008, ttft_p95_off_s=-0.0004, speed_p25_off=0,
    lateness_s=(0.0001, 0.001, 0.002), read_lag_p99_s=0.002, loop_lag_max_s=0.003, gc_pause_max_s=0, cpu_shares=(0.05,),
)  # fmt: skip
CEILING = Ceiling(
    host=ceiling.host(), workers=1, version=selfcheck.__version__, agents=64, tokens_per_s=2500, speed=50,
    request_bytes=30_000, levels=(LEVEL, msgspec.structs.replace(LEVEL, agents=128, why=("late",))),
)  # fmt: skip


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


# -- the target --------------------------------------------------------------------------------------------------------------


def test_the_null_target_answers_by_the_clock_and_logs_what_it_sent():
    with spawned("openagentperf.sim.null", "--ttft-ms", "40", "--jitter-ms", "0", "--interval-ms", "3") as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        for tokens in (5, 2):
            body = json.dumps({"model": "null", "max_tokens": tokens, "messages": [{"content": "x" * 300_000}]})
            connection.request("POST", "/v1/chat/completions", body)
            text = connection.getresponse().read().decode()
            assert text.count('"content":" the"') == tokens
            usage = next(json.loads(line[6:]) for line in text.splitlines() if '"usage"' in line)["usage"]
            assert (usage["completion_tokens"], usage["prompt_tokens"]) == (tokens, len(body) * 2 // 7)
            assert text.endswith("data: [DONE]\n\n")
        connection.request("GET", "/log")
        log = list(struct.iter_unpack("<4q", connection.getresponse().read()))
        connection.close()
    assert [row[3] for row in log] == [5, 2]
    for read_ns, first_ns, last_ns, tokens in log:  # never before its time, however late the machine lets it be
        assert first_ns - read_ns >= 39_000_000
        assert last_ns - read_ns >= 39_000_000 + (tokens - 1) * 3_000_000


def test_a_client_that_does_not_read_loses_nothing_and_holds_nobody_up():
    """Two answers at once, of 4,000 tokens (0.8 MB) and of 300: the longer one is read last."""
    with spawned("openagentperf.sim.null", "--ttft-ms", "1", "--jitter-ms", "0", "--interval-ms", "0") as url:
        connections = [http.client.HTTPConnection(urlsplit(url).netloc, timeout=60) for _ in range(2)]
        for connection, tokens in zip(connections, (4_000, 300), strict=True):
            body = json.dumps({"max_tokens": tokens, "messages": []})
            connection.request("POST", "/v1/chat/completions", body)
        quick, slow = connections[1].getresponse().read(), connections[0].getresponse().read()
        assert (quick.count(b'" the"'), slow.count(b'" the"')) == (300, 4_000)
        for connection in connections:
            connection.close()


def test_an_answer_that_a_full_socket_takes_in_parts_comes_whole():
    """The reader takes 100 bytes at a time, and only where there is no more room: a token of 200 bytes goes out in several sends."""
    ours, theirs = socket.socketpair()
    server = NullServer(0, 1, 0, 0, numbered=False)
    with ours, theirs:
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel's least, which holds some twenty tokens
        stream = _Stream(ours)
        stream.read_ns, stream.tokens, stream.left = 5, 60, 60
        server._log.append((5, 0, 0, 0))
        got, cut = bytearray(), 0
        while stream.left:
            if not server._send(stream):
                cut += bool(stream.pending)
                got += theirs.recv(100)
        ours.shutdown(socket.SHUT_WR)
        while data := theirs.recv(1 << 16):
            got += data
    server.stopping = True
    server.run()
    assert cut, "the socket took every send whole"
    assert got.count(TOKEN) == 60
    assert got == _OPENING + 60 * TOKEN + _ending(0, 60)
    assert [(row[0], row[3]) for row in server._log] == [(5, 60)]


def test_delays_that_the_wheel_cannot_hold_are_refused():
    with pytest.raises(Exception, match="0 to 4094 ms were needed"):
        NullServer(0, 5000, 0, 20, numbered=False)


# -- a level -----------------------------------------------------------------------------------------------------------------


@pytest.mark.e2e
def test_a_small_level_is_measured_against_the_target_s_own_log():
    load = selfcheck.Load(measure_s=1.5, request_bytes=2_000, tokens=20)
    said: list[str] = []
    found = selfcheck.measure(load, planfile.tier_presets()["agentperf"], said.append, agents=8)
    (level,) = found.levels
    assert level.agents == 8
    # 8 agents: TTFT 0.35 s, 20 tokens at 50/s 0.38 s, delay 0.3 s: 8 x 20 / 1.03 s = 155 tokens/s
    assert 60 < level.tokens_per_s < 200
    assert len(level.cpu_shares) == 1
    assert said == [f"8 agents, {level.tokens_per_s:.0f} tokens/s: {'; '.join(level.why) or 'exact'}"]
    assert (found.agents, found.tokens_per_s) == ((0, 0.0) if level.why else (8, level.tokens_per_s))


def against_the_log(late: int = 0, late_s: float = 0.0, true_speed: float = 100.0, **of_row: object) -> list[str]:
    """What is said of 100 turns of 121 tokens, reported with 0.5 s to the first of them and 100/s behind it, where by the target's log
    `late` of the first tokens were sent `late_s` before that, and the others at `true_speed`."""
    rows = [row(OPENS_S + k, ttft_s=0.5, speed=100, prompt_tokens=k, cached_tokens=None, **of_row) for k in range(100)]
    first_ns = [each.due_ns + ns(0.5 - late_s * (k < late)) for k, each in enumerate(rows)]
    log = [(each.due_ns, at, at + ns(120 / true_speed), 121) for each, at in zip(rows, first_ns, strict=True)]
    level = selfcheck._judged(
        facts(), Turns.from_rows(rows), samples(), np.array(log), planfile.tier_presets()["agentperf"]
    )
    return [why.split(" off the target's own log")[0] for why in level.why if "target's own log" in why]


@pytest.mark.parametrize(
    ("off", "said"),
    [
        ({}, []),
        ({"late": 100, "late_s": 0.0029}, []),
        ({"late": 100, "late_s": 0.0031}, ["P50 of TTFT is +3.10 ms", "P95 of TTFT is +3.10 ms"]),
        ({"late": 100, "late_s": -0.0031}, ["P50 of TTFT is -3.10 ms", "P95 of TTFT is -3.10 ms"]),
        ({"late": 10, "late_s": -0.0031}, ["P95 of TTFT is -3.10 ms"]),  # one turn in ten moves no P50
        ({"true_speed": 100 / 1.009}, []),
        ({"true_speed": 100 / 1.011}, ["P25 of output speed is +1.10%"]),
        ({"true_speed": 100 / 0.989}, ["P25 of output speed is -1.10%"]),
        # All in one read: tokens over the whole time, 121 / (0.5 + 1.2 s) = 71.18 for 100 tokens/s.
        ({"output_reads": 1}, ["P25 of output speed is -28.82%"]),
    ],
)
def test_a_level_is_exact_within_3_ms_and_1_per_cent_of_the_log(off: dict[str, Any], said: list[str]):
    assert against_the_log(**off) == said


# -- the search --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("can", "limit", "tried", "best"),
    [
        (300, 8192, [64, 128, 256, 512, 384, 320, 288, 304], 288),  # 304 < 1.1 x 288
        (8192, 256, [64, 128, 256], 256),  # as far as it was asked to go
        (40, 8192, [64, 32, 48, 40, 44], 40),  # 44 is not exact, and 44 <= 1.1 x 40
        (0, 8192, [64, 32, 16, 8, 4, 2, 1], 0),
    ],
)
def test_the_largest_level_is_found(can: int, limit: int, tried: list[int], best: int) -> None:
    asked: list[int] = []

    def exact(n: int) -> bool:
        asked.append(n)
        return n <= can

    assert selfcheck.largest(exact, limit) == best
    assert asked == tried


# -- what is remembered, and who refuses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "workers", "is_known"),
    [
        ({}, 1, True),
        ({}, 2, False),  # with so many load processes nothing was measured
        ({"host": "another"}, 1, False),
        ({"version": "0.0"}, 1, False),
        ({"agents": 0}, 1, False),
    ],
)
def test_a_ceiling_holds_for_what_it_was_measured_with(
    state: Path, change: dict[str, object], workers: int, is_known: bool
) -> None:
    found = msgspec.structs.replace(CEILING, **change)
    assert ceiling.known(workers) is None
    assert ceiling.remember(found, searched=True) is found
    assert (state / "openagentperf" / "selfcheck.json").exists()
    assert ceiling.known(workers) == (found if is_known else None)


def test_a_broken_file_is_no_ceiling_and_is_replaced(state: Path):
    ceiling.remember(CEILING, searched=True)
    ceiling.remembered_at().write_text("{")
    assert ceiling.known(1) is None
    ceiling.remember(CEILING, searched=True)
    assert ceiling.known(1) == CEILING


@pytest.mark.parametrize(("rate", "searched", "holds"), [(1000, False, 2500), (4000, False, 4000), (1000, True, 1000)])
def test_one_level_only_raises_what_a_search_has_found(state: Path, rate: float, searched: bool, holds: float):
    ceiling.remember(CEILING, searched=True)
    found = msgspec.structs.replace(CEILING, agents=8, tokens_per_s=rate)
    assert ceiling.remember(found, searched=searched).tokens_per_s == holds
    known = ceiling.known(1)
    assert known is not None
    assert known.tokens_per_s == holds


def test_each_number_of_workers_has_its_ceiling(state: Path):
    two = msgspec.structs.replace(CEILING, workers=2, tokens_per_s=1000)
    elsewhere = msgspec.structs.replace(CEILING, host="another", tokens_per_s=9)
    for each in (CEILING, two, elsewhere):
        ceiling.remember(each, searched=True)
    assert (ceiling.known(1), ceiling.known(2), ceiling.known(3)) == (CEILING, two, None)


@pytest.mark.parametrize(
    ("ceiling", "verdict"),
    [
        (None, "pass"),
        (200.0, "pass"),
        # 100 turns of 121 tokens in 100 s, half of the last one behind the end: 120.4 tokens/s
        (110.0, "invalid"),
    ],
)
def test_above_its_ceiling_a_client_judges_nothing(ceiling: float | None, verdict: str) -> None:
    order = msgspec.structs.replace(facts().order, ceiling_tokens_per_s=ceiling)
    found = first(judged(spread(100), order=order))
    assert found.verdict == verdict
    if verdict == "invalid":
        assert found.reasons[0].startswith(
            "the client is the limit at 4 agents: they streamed 120 tokens/s, this host is known to be exact up to 110: "
            "`openagentperf selfcheck --workers 1 --agents 8`"
        )


# -- the command -------------------------------------------------------------------------------------------------------------


def test_the_table_fits_a_terminal_and_says_what_holds():
    told = lines(CEILING)
    assert max(map(len, told)) <= 80
    assert told[-1] == "exact up to 64 agents, 2500 tokens/s, with 1 load process"
    assert lines(msgspec.structs.replace(CEILING, levels=(LEVEL,)))[-1].startswith("exact up to 64 agents or more")
    assert lines(msgspec.structs.replace(CEILING, agents=0))[-1].startswith("no level was exact")


@pytest.mark.e2e
def test_the_command_remembers_and_prints_one_object(state: Path, capsys: pytest.CaptureFixture[str]):
    status = main(["selfcheck", "--agents", "4", "--request-bytes", "1000", "--speed", "100", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (status, found["agents"]) in ((0, 4), (4, 0))  # a machine too busy for four agents says so
    assert (state / "openagentperf" / "selfcheck.json").exists() is (status == 0)


def test_a_target_that_answers_nothing_is_no_ceiling():
    with pytest.raises(InfrastructureError, match="no turn was answered"):
        selfcheck._judged(
            facts(), Turns.from_rows([]), [], np.zeros((0, 4), dtype=np.int64), planfile.tier_presets()["agentperf"]
        )

"""What goes wrong on some connections moves no timestamp on the others: phases of the real load path, held against the server's own log.

No bound is a time that a machine must keep to. A first token's stamp must lie between the sends of the first and of the second token,
which are 40 ms apart; the kernel takes it, so a busy host does not move it, and a client that stood still reads two tokens in one and is
found out.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import numpy as np
import pytest

import disturbing
from disturbing import EVERY, ROW, SLOW, SLOWER, STALLED
from openagentperf.load.drill import Drill, closed, compiled, drilled, sessions
from openagentperf.score.columns import Turns
from openagentperf.sim.spawn import spawned
from openagentperf.units import NS_PER_MS, NS_PER_S

pytestmark = pytest.mark.e2e

AGENTS, TOKENS, INTERVAL_MS = 48, 24, 40
CLOCK_NS = NS_PER_MS
"""What the product allows between kernel stamps and the monotonic clock."""
MOST = 0.9
"""Of the undisturbed turns: what a neighbour on this machine does to the others is not what is asked."""


class Phase(NamedTuple):
    """All turns of a phase that were sent and are not the end's own doing, and the server's log."""

    turns: Turns
    log: np.ndarray

    def truth(self, answered: Turns) -> np.ndarray:
        return self.log[answered.prompt_tokens]


@pytest.fixture
def tests_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(disturbing.__file__).parent), os.environ.get("PYTHONPATH", "")])
    )


def phase(folder: Path, mode: str, request_bytes: int = 8_000, turns: int = 300) -> Phase:
    corpus = compiled(sessions(tokens=TOKENS, first_bytes=request_bytes), folder)
    drill = Drill(agents=AGENTS, spawn_per_s=200, settle_s=0.2, measure_s=1, least_turns=turns, turn_timeout_s=4)
    with spawned("disturbing", "--mode", mode, "--interval-ms", str(INTERVAL_MS)) as url:
        facts, collector = drilled(drill, url, corpus, folder)
        with urlopen(url.removesuffix("/v1") + "/log") as answer:
            log = np.frombuffer(answer.read(), dtype=np.int64).reshape(-1, ROW.size // 8)
    assert facts.faults == ()
    if facts.stamps != "kernel":
        pytest.skip("this platform has no kernel receive stamps: what is measured is when the program got to it")
    found = closed(folder, facts, collector)
    return Phase(found.where((found.sent_ns >= 0) & (found.failure != "aborted")), log)


def share(mask: np.ndarray) -> float:
    assert len(mask) >= 50, "too few turns to tell"
    return float(mask.mean())


def assert_undisturbed(of: Phase, turns: Turns) -> None:
    """Stamps of the first and of the last token, the speed between them, and when the turns were sent."""
    truth = of.truth(turns)
    first, second, last, tokens = truth[:, 1], truth[:, 2], truth[:, 3], truth[:, 4]
    assert (tokens == TOKENS).all()
    assert (turns.output_tokens == TOKENS).all()
    assert (turns.sent_ns <= truth[:, 0] + CLOCK_NS).all(), "nothing was read before it was sent"
    assert (turns.first_output_ns >= first - CLOCK_NS).all()
    assert (turns.last_output_ns >= last - CLOCK_NS).all()
    interval_ns = INTERVAL_MS * NS_PER_MS
    assert share(turns.first_output_ns < second + CLOCK_NS) >= MOST
    assert share(turns.last_output_ns < last + interval_ns) >= MOST
    span = (turns.last_output_ns - turns.first_output_ns) / (last - first)
    assert share(np.abs(span - 1) <= 0.02) >= MOST
    reused = turns.where(turns.connection == "reused")
    assert share(reused.sent_ns - reused.due_ns < 2 * interval_ns) >= MOST, (
        "sent when it was due, by two of a token's intervals"
    )


@pytest.mark.usefixtures("tests_importable")
def test_a_tail_of_slow_and_stalled_streams(tmp_path: Path):
    of = phase(tmp_path, "tail")
    assert set(of.turns.failure) == {"", "timeout"}, "a stalled stream is given up, and only that"
    answered = of.turns.where(~of.turns.failed)
    kind = answered.prompt_tokens % EVERY
    assert not (kind == STALLED).any()
    slow = answered.where(kind == SLOW)
    assert ((slow.last_output_ns - slow.first_output_ns) >= SLOWER * (TOKENS - 2) * INTERVAL_MS * NS_PER_MS / 2).all()
    assert_undisturbed(of, answered.where(kind != SLOW))


@pytest.mark.usefixtures("tests_importable")
def test_a_storm_of_resets_and_of_new_connections(tmp_path: Path):
    of = phase(tmp_path, "storm")
    resets = of.turns.failure == "reset"
    assert 10 <= resets.sum() < len(of.turns) / 2
    assert set(of.turns.failure) == {"", "reset"}
    assert (of.turns.connection == "new").sum() > AGENTS, "they came back on new connections"
    assert (of.turns.paced_ns == 0).all(), "so few are no storm to our own pacing"
    assert_undisturbed(of, of.turns.where(~of.turns.failed))


@pytest.mark.usefixtures("tests_importable")
def test_a_server_that_stops_reading_half_of_a_large_body(tmp_path: Path):
    of = phase(tmp_path, "deaf", request_bytes=250_000, turns=150)
    stuck = of.turns.where(of.turns.failed)
    assert set(stuck.failure) == {"timeout"}
    assert len(stuck) >= AGENTS // EVERY
    assert (stuck.request_bytes > 250_000).all()
    assert (stuck.first_byte_ns < 0).all()
    assert ((stuck.closed_ns - stuck.due_ns) >= 4 * NS_PER_S).all(), "given up at the turn's limit, not before"
    assert_undisturbed(of, of.turns.where(~of.turns.failed))


@pytest.mark.usefixtures("tests_importable")
def test_all_streams_that_end_in_one_instant(tmp_path: Path):
    """The trap: who decodes an answer where he reads the others, is late for those of the next instant."""
    of = phase(tmp_path, "together")
    assert set(of.turns.failure) == {""}
    truth = of.truth(of.turns)
    instants, sizes = np.unique(
        truth[:, 3] // NS_PER_S * 10 + truth[:, 3] % NS_PER_S // (NS_PER_S // 10), return_counts=True
    )
    assert sizes.max() >= AGENTS // 6, "many did end together"
    assert len(instants) >= 3
    assert (of.turns.last_output_ns >= truth[:, 3] - CLOCK_NS).all()
    assert share(of.turns.last_output_ns < truth[:, 3] + INTERVAL_MS * NS_PER_MS) >= MOST
    assert share(of.turns.first_output_ns < truth[:, 2] + CLOCK_NS) >= MOST
    assert (of.turns.first_output_ns >= truth[:, 1] - CLOCK_NS).all()
    span = (of.turns.last_output_ns - of.turns.first_output_ns) / (truth[:, 3] - truth[:, 1])
    assert share(np.abs(span - 1) <= 0.02) >= MOST

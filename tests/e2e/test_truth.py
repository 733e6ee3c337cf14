"""What is reported beside what the server truly sent: small phases of the real load path against the mock server of benchmarks/.

No bound here is a time that a machine must keep to. Truth is the server's own send log, and every comparison is within one turn, by one
clock: a request cannot be read before it was sent, and the kernel stamps a chunk inside the send() whose start the server logged. A
busy machine makes both late by the same amount.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from benchmarks.loadpath import Phase, Shape, measure
from openagentperf.score.quantile import quantile
from openagentperf.units import NS_PER_MS

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        shutil.which("gcc") is None, reason="no gcc here: the mock server is a C file, compiled at first use"
    ),
]

TTFT_MS, TOKENS = 100, 24
CLOCK_NS = NS_PER_MS
"""What the product itself allows between kernel stamps and the monotonic clock (score.clienterror.CLOCK_STEP_NS)."""
NEAR_NS = 3 * NS_PER_MS
"""The issue's bar for P50; here for the median way of a chunk from send() to its stamp, which takes some ten microseconds."""


def small(*options: str, least_turns: int = 24, continuous_usage: bool = False) -> Phase:
    """A dozen agents, answers of 24 tokens 10 ms apart, TTFT 100 to 150 ms."""
    shape = Shape(
        agents=12, spawn_per_s=100, settle_s=0.2, measure_s=0.5, least_turns=least_turns, delay_ms=(10, 60), first_bytes=4_000,
        tokens=TOKENS, continuous_usage=continuous_usage,
    )  # fmt: skip
    phase = measure(shape, "--ttft-ms", str(TTFT_MS), "--jitter-ms", "50", "--interval-ms", "10", *options)
    if phase.facts.stamps != "kernel":
        pytest.skip("this platform has no kernel receive stamps: what is measured is when the program got to it")
    return phase


@pytest.mark.parametrize(
    ("options", "first_tokens"),
    [
        ((), 1),
        (("--role", "early"), 1),  # a role-only event 5 ms after the request is not output
        (("--role", "none"), 1),
        (("--toolcall", str(TOKENS)), 1),  # nothing but a tool call: its name and arguments are output
        (("--reasoning", str(TOKENS - 4)), 1),  # reasoning is output, under either name
        (("--reasoning", str(TOKENS), "--reasoning-key", "reasoning"), 1),
        (("--tokens-per-event", "4"), 4),  # speculative decoding: the first event's 4 tokens are paid for by TTFT
        (("--interval-ms", "1"), 1),  # 1,000 tokens/s a stream: the first events must not be read together
    ],
    ids=lambda value: (" ".join(value).replace("--", "") or "plain") if isinstance(value, tuple) else "",
)
def test_reported_times_are_those_of_the_servers_own_log(options: tuple[str, ...], first_tokens: int):
    phase = small(*options, continuous_usage=first_tokens > 1)
    turns, truth = phase.answered, phase.truth
    assert phase.judged.failed_turns == 0
    assert len(turns) >= 24
    assert (truth.tokens == TOKENS).all()
    assert (turns.output_tokens == TOKENS).all()
    assert (turns.first_tokens == first_tokens).all()

    # Cause before effect, across two processes, in every turn.
    assert (turns.due_ns <= turns.sent_ns).all()
    assert (turns.sent_ns <= truth.read_ns).all()
    assert (truth.first_ns - CLOCK_NS <= turns.first_output_ns).all()
    assert (truth.last_ns - CLOCK_NS <= turns.last_output_ns).all()

    # Headers (and an early role) come at once. Had TTFT been taken from the first byte, it would be wrong by the whole TTFT.
    assert np.median(truth.first_ns - turns.first_byte_ns) > TTFT_MS * NS_PER_MS / 2

    # TTFT: the stamp is that of the first token's send, where it was read alone (the client got to it before the second was sent).
    alone = turns.first_read_events == truth_events(options)
    assert alone.sum() >= 5, "the client was starved: nearly all first events were read together with later ones"
    sent_after_due_ns = truth.first_ns - turns.due_ns
    assert np.median(np.abs(phase.view.ttft_s * 1e9 - sent_after_due_ns)[alone]) <= NEAR_NS
    assert phase.judged.ttft_p50_s == quantile(phase.view.ttft_s, 0.5)

    # Speed: by the server's usage and its own sends, within the 1 %.
    honest = alone & ~phase.view.pace.buffered
    assert honest.sum() >= 5
    speed, true_speed = phase.view.pace.speed[honest], truth.speed[honest]
    assert abs(quantile(speed / true_speed, 0.5) - 1) <= 0.01


def truth_events(options: tuple[str, ...]) -> int:
    """Output events of one send(): a tool call opens with an event for its name beside that of its first argument token."""
    return 2 if "--toolcall" in options else 1


def test_four_tokens_an_event_without_their_count_are_not_read_as_one():
    """A server that tells its count only at the end: (24 - 1) tokens over the span of 20 would read 15 % too much."""
    phase = small("--tokens-per-event", "4")
    assert abs(quantile(phase.view.pace.speed / phase.truth.speed, 0.5) - 1) <= 0.01


def test_a_stream_without_usage_is_a_failure_and_never_a_guess():
    phase = small("--usage", "never", least_turns=12)
    assert set(phase.measured.failure) == {"no_usage"}
    assert phase.judged.failed_turns == phase.judged.measured_turns >= 12
    assert phase.judged.ttft_p50_s is None
    assert {verdict.verdict for verdict in phase.judged.verdicts} == {"fail"}

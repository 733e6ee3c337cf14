"""What makes a phase a *fail*: the system under test missed the service level. Each reason is a sentence.

Two readings of the same three criteria. With enough turns a figure beyond its limit is a fail. With too few, chance alone puts P95
beyond a limit now and then, so a fail must be beyond doubt (`beyond_doubt`); else the phase is short of data, hence invalid.

Source: docs/methodology.md#verdict
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from openagentperf.plan import Rigor, Tier
from openagentperf.score import drift
from openagentperf.score.columns import Turns
from openagentperf.score.turn import pace, ttft_s
from openagentperf.score.view import SPEED_Q, TTFT_Q, Reading, View
from openagentperf.units import NS_PER_S

DOUBT = 0.05
CHARS_A_TOKEN = 2.0
"""Taken low (real text: 3.5 to 4), so that the tokens of a broken-off answer are overrated and its speed with them."""


def limits_missed(tier: Tier, p95_s: float, told: Reading | None) -> list[str]:
    """Which of the tier's limits the figures miss. `told` is None where too few turns have a speed to judge it."""
    found: list[str] = []
    if p95_s > tier.ttft_s:
        found.append(
            f"TTFT P95 is {seconds(p95_s)}, at most {tier.ttft_s:g} s is needed: fewer agents, or a faster prefill"
        )
    if told is not None and told.speed_p25 < tier.output_speed:
        found.append(
            f"output speed P25 is {told.speed_p25:.4g} tokens/s, at least {tier.output_speed:g} is needed: "
            "fewer agents, or a faster decode"
        )
    return found


def unsound(view: View, tier: Tier, rigor: Rigor) -> list[str]:
    """What fails the phase whatever its percentiles: too many failures, or a growing queue."""
    found: list[str] = []
    count, failed = len(view.measured), int((view.measured.failed & (view.measured.failure != "client")).sum())
    if failed > rigor.max_failure_share * count:
        advice = "look at the server's log, or offer fewer agents"
        if 2 * int((view.measured.failure == "overflow").sum()) > failed:
            # Fewer agents would not make a prompt shorter.
            advice = "cut the corpus to less than the server's context (--max-context), or serve a longer one"
        found.append(
            f"{failed} of {count} measured turns failed ({failures(view)}), at most {rigor.max_failure_share:.3g} of them "
            f"may: {advice}"
        )
    rise = drift.rise(view.measured.due_ns, view.ttft_s, view.facts.window_start_ns, view.facts.window_end_ns)
    if rise is not None:
        before, after = rise
        # A rise below what the tier's limit resolves is no queue that would ever reach it.
        if after > before * (1 + rigor.ttft_drift) and after - before > rigor.client_error * tier.ttft_s:
            found.append(
                f"TTFT P50 rose from {seconds(before)} in the first third of the window to {seconds(after)} in the last, "
                f"at most {rigor.ttft_drift:.0%} more is steady: a queue is growing; fewer agents, or settle for longer"
            )
    return found


def beyond_doubt(view: View, tier: Tier, rigor: Rigor) -> list[str]:
    """Why a phase with too few turns fails the tier all the same; empty where chance could explain it.

    Each criterion allows a share p of turns beyond its limit (5 % for TTFT, 25 % for speed, `max_failure_share` for failures).
    k of n turns beyond it are beyond doubt where P(at least k of n | p) <= 5 %.

    The turns: measured ones, and those due before the window that were still open when it ended: where N agents wait
    all through the window for a server that hangs, no turn is due in it at all. A turn that the end of the phase
    broke off is no failure here but half known: its TTFT is what it had, or had waited while our loop ran, and its
    speed at most what it had shown. Turns that we sent late are no evidence.
    """
    facts, turns = view.facts, view.everything
    open_still = turns.failure == "aborted"
    stuck = (turns.due_ns < facts.window_start_ns) & ((turns.closed_ns >= facts.window_end_ns) | open_still)
    punctual = view.every_late_s <= rigor.client_error * tier.ttft_s
    taken = (stuck | view.in_window) & punctual & (turns.failure != "client")
    turns, open_still, stall_s = turns.where(taken), open_still[taken], view.every_stall_s[taken]
    seen = turns.first_output_ns >= 0

    waited = (np.where(seen, turns.first_output_ns, turns.closed_ns) - turns.due_ns) / NS_PER_S
    waited = np.where(seen, waited, waited - stall_s)
    wait = np.where(open_still, waited, ttft_s(turns))
    wait_known = ~open_still | seen | (waited > tier.ttft_s)

    told = pace(turns)
    shown = np.maximum(turns.output_events, turns.output_chars / CHARS_A_TOKEN)
    since = np.maximum(turns.closed_ns - turns.first_output_ns, 1) / NS_PER_S
    slow_still = open_still & seen & (since >= 1.0) & (shown / since < tier.output_speed)
    speed_known = np.where(open_still, slow_still, told.known)
    slow = slow_still | (~open_still & told.known & (told.speed < tier.output_speed))

    failed = turns.failed & ~open_still
    found: list[str] = []
    for name, beyond, known, allowed in (
        (f"failed ({kinds(turns.where(failed))})", failed, ~open_still, rigor.max_failure_share),
        (f"had a TTFT over {tier.ttft_s:g} s", wait_known & (wait > tier.ttft_s), wait_known, 1 - TTFT_Q),
        (f"ran below {tier.output_speed:g} tokens/s", slow, speed_known, SPEED_Q),
    ):
        k, n = int(beyond.sum()), int(known.sum())
        if k and tail(k, n, allowed) <= DOUBT + 1e-12:
            found.append(
                f"few turns completed, and {k} of {n} {name}, at most {allowed:.3g} of them may: "
                "the server is overloaded, or gone: look at its log, or offer fewer agents"
            )
    return found


def tail(k: int, n: int, p: float) -> float:
    """P(X >= k) for X binomial (n, p); p may be 0 or 1."""
    if k <= 0 or p >= 1:
        return 1.0
    if p <= 0:
        return 0.0
    return min(
        1.0,
        math.fsum(math.exp(_log_choose(n, i) + i * math.log(p) + (n - i) * math.log1p(-p)) for i in range(k, n + 1)),
    )


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def failures(view: View) -> str:
    """`12 http 503, 3 timeout`: the kinds among the measured turns, in alphabetical order; "" where none failed."""
    return kinds(view.measured.where(view.measured.failed))


def kinds(turns: Turns) -> str:
    """The same for any failed turns."""
    named = zip(turns.failure.tolist(), turns.status.tolist(), strict=True)
    counts = Counter(f"{kind} {status}" if kind == "http" and status > 0 else kind for kind, status in named)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def seconds(value: float) -> str:
    return f"{value:.4g} s" if math.isfinite(value) else "infinite (too many turns failed)"

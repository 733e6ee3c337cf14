"""What makes a phase *invalid*: the measurement was spoiled, or there is too little of it. Each reason is a sentence.

Two ranks. What is *spoiled* (our own error, a worker that died, a warm cache, missing agents) makes a phase invalid whatever else it shows:
a client that falls behind must never come out as a slow server. What is *short* (too few turns, trajectories, speeds) only takes a
pass away: a server so overloaded that few turns complete has failed, and must not be excused for it (failing.py).

Source: docs/methodology.md#phase
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from openagentperf.plan import Rigor, Tier
from openagentperf.records.turns import ClientSample
from openagentperf.score import cache, clienterror
from openagentperf.score.cache import Sharing
from openagentperf.score.columns import Mask
from openagentperf.score.quantile import quantile
from openagentperf.score.view import Reading, View, speed_error
from openagentperf.units import NS_PER_MS, NS_PER_S

MIN_ACTIVE_SHARE = 0.99
MIN_SPEED_SHARE = 0.9
HUNG_SHARE = 0.5
"""Of the phase's limit: an answer open for longer is worth a word."""
HOST_CLOCK_NS = 10 * NS_PER_MS
"""A load host's times may be so far off the run's clock: 0.2 % of the shortest window, 6 s. TTFT and speed are differences on one host's
clock; which turns are measured, and which power belongs to them, is not."""
STALL_SHARE = 0.1
"""A turn that times out after 120 s of which our loop stood still for more than 12 is not surely the server's failure."""


def spoiled(view: View, samples: Sequence[ClientSample], sharing: Sharing) -> list[str]:
    """Reasons that hold for every tier."""
    facts = view.facts
    reasons = [f"{fault}: the phase cannot be read" for fault in facts.faults]
    reasons += [
        f"clock offset: load host {host.facts.name} may be {host.worst_ns / NS_PER_MS:.4g} ms off the run's clock (its round trips tell to "
        f"{host.error_ns / NS_PER_MS:.4g} ms, it drifted by {host.drift_ns / NS_PER_MS:.4g}), at most {HOST_CLOCK_NS / NS_PER_MS:g} ms is "
        "allowed: keep the hosts' clocks by NTP or PTP, and their network free"
        for host in facts.hosts
        if host.worst_ns > HOST_CLOCK_NS
    ]
    starved = int((view.everything.failure == "client").sum())
    if starved:
        reasons.append(
            f"{starved} requests failed on this host's own limits (descriptors, ports, memory), none may: "
            "raise `ulimit -n` or the port range, or spread the load over more hosts"
        )
    if not samples:
        reasons.append(
            "no client health samples, at least one a second is needed: the load worker did not report; run again"
        )
    step = clienterror.clock_step_ns(samples) if facts.stamps == "kernel" else 0
    if step > clienterror.CLOCK_STEP_NS:
        reasons.append(
            f"the wall clock stepped by {step / NS_PER_MS:.4g} ms, at most 1 ms is allowed with kernel receive stamps: "
            "let the clock settle (NTP slews, it must not step) and run again"
        )
    if facts.min_active_share < MIN_ACTIVE_SHARE:
        reasons.append(
            f"all {facts.order.agents} agents were active for {facts.min_active_share:.1%} of the window, "
            f"{MIN_ACTIVE_SHARE:.0%} is needed: look for agents that stopped in the worker's log"
        )
    if facts.stamps == "kernel" and len(view.measured):
        held = quantile(clienterror.held_bytes(view.measured), 0.99)
        if held > clienterror.BUFFER_BYTES:
            reasons.append(
                f"{held:.0f} bytes of an answer waited unread in the kernel (P99), at most {clienterror.BUFFER_BYTES} is sure not to "
                "hold the server up: give the client more CPU or more workers"
            )
    ceiling, streamed = facts.order.ceiling_tokens_per_s, view.streamed_tokens_per_s
    if ceiling is not None and streamed > ceiling:
        known_of = [host for host in facts.hosts if host.facts.ceiling_tokens_per_s]
        first = min(
            known_of, key=lambda host: (host.facts.ceiling_tokens_per_s or 0.0) / len(host.workers), default=None
        )
        where, workers = (
            (f"load host {first.facts.name}", len(first.workers)) if first else ("this host", facts.workers)
        )
        agents = -(-2 * facts.order.agents * workers // facts.workers)
        reasons.append(
            f"the client is the limit at {facts.order.agents} agents: they streamed {streamed:.0f} tokens/s, {where} is known to be "
            f"exact up to {ceiling:.0f}{' of them all' if first else ''}: `openagentperf selfcheck --workers {workers} --agents {agents}` "
            f"{'there ' if first else ''}if it can do more, else more workers or another host"
        )
    hot, known = cache.warm(view.everything, sharing)
    if hot > cache.MAX_WARM_SHARE * known:
        reasons.append(
            f"{hot} of {known} first turns found more tokens in the cache than the corpus shares, at most "
            f"{cache.MAX_WARM_SHARE:.0%} may: the cache was warm; clear it, and look for a cache that ignores the nonce"
        )
    return reasons


def client_error(view: View, tier: Tier, rigor: Rigor, told: tuple[Reading, ...] | None) -> list[str]:
    """Reasons why the client's own error is too large for this tier. `told` is None where no turn has a speed."""
    reasons: list[str] = []
    if len(view.measured):
        error_s, allowed_s = quantile(view.ttft_error_s, 0.99), rigor.client_error * tier.ttft_s
        if error_s > allowed_s:
            reasons.append(
                f"the client itself was {error_s:.4g} s late in sending and reading (P99), "
                f"at most {allowed_s:.4g} s is allowed for a TTFT limit of "
                f"{tier.ttft_s:g} s: give it more CPU or more workers, or move it off the server's host"
            )
    stalled = view.every_stall_s[view.in_window] * NS_PER_S > STALL_SHARE * (
        view.measured.closed_ns - view.measured.due_ns
    )
    stood = int((stalled & np.isin(view.measured.failure, ("timeout", "aborted"))).sum())
    if stood > rigor.max_failure_share * len(view.measured):
        reasons.append(
            f"{stood} turns timed out while the client itself stood still for over {STALL_SHARE:.0%} of their time, "
            f"at most {rigor.max_failure_share:.3g} of all may: give the client more CPU, or look for what stopped it"
        )
    if told is not None:
        # Of the limit or of what was measured, whichever is more: at one agent a node that runs 25 times as fast as the limit
        # was thrown out for an error of 0.08 % of its own speed. Near the limit, where it matters, the two are one; flips()
        # covers the rest.
        off, allowed = speed_error(told), rigor.client_error * max(tier.output_speed, told[0].speed_p25)
        if off > allowed:
            reasons.append(
                f"late reads may have moved P25 output speed by {off:.4g} tokens/s, at most {allowed:.4g} is allowed for a "
                f"limit of {tier.output_speed:g} and a measured {told[0].speed_p25:.4g}: give the client more CPU or more "
                "workers, or use a host with kernel receive stamps"
            )
    return reasons


def flips(tier: Tier, told: tuple[Reading, ...]) -> list[str]:
    """The verdict hangs on the client's own error: shifting the stamps by the measured lag would turn it round."""
    says = told[0].meets(tier)
    if all(other.meets(tier) == says for other in told):
        return []
    side = "meets" if says else "misses"
    return [
        f"the phase {side} the limits by less than the client's own lag, more is needed: repeat it with more client CPU"
    ]


def short_of_turns(view: View, rigor: Rigor) -> str:
    """Why there are too few measured turns for this kind of phase; "" where there are enough."""
    found = len(view.measured)
    if view.facts.order.kind == "search":
        needed, knob = rigor.search_turns, "search_turns"
    else:
        needed, knob = math.ceil(rigor.certify_turns / rigor.certify_phases), "certify_turns"
    return (
        ""
        if found >= needed
        else f"{found} measured turns, {needed} are needed: {_longer(view)}, or lower rigor.{knob}"
    )


def short_of_trajectories(view: View, rigor: Rigor) -> str:
    """The same for completed trajectories: a certifying phase needs its share of max(trajectories, per agent x N)."""
    if view.facts.order.kind == "search":
        return ""
    quota = max(rigor.trajectories, rigor.trajectories_per_agent * view.facts.order.agents)
    needed, found = math.ceil(quota / rigor.certify_phases), int(completed(view).sum())
    if found >= needed:
        return ""
    return f"{found} completed trajectories, {needed} are needed: {_longer(view)}, or use shorter trajectories"


def short_of_speeds(view: View) -> str:
    """The same for turns with a speed: one-token answers have none."""
    with_speed, found = int(view.pace.known.sum()), len(view.measured)
    if with_speed >= MIN_SPEED_SHARE * found:
        return ""
    return (
        f"{with_speed} of {found} measured turns have an output speed, {MIN_SPEED_SHARE:.0%} are needed: "
        "answers of one token have none; look at the output lengths"
    )


def completed(view: View) -> Mask:
    """Of the measured turns, those that end a whole trajectory well: not an agent's partial first one."""
    turns = view.measured
    return turns.last & (turns.replay >= 1) & ~turns.failed


def _longer(view: View) -> str:
    # A window stays open for its quotas up to the limit, so only the limit gives it more; one that closed early enough for the turns
    # in flight to end has not hit it, and is short for the same reason.
    facts, turns = view.facts, view.everything
    # Longer phases do not help against a server that has stopped to answer: say so, where that is what was seen.
    open_still = (turns.failure == "aborted") & (turns.due_ns < facts.window_end_ns)
    waited_s = (turns.closed_ns[open_still] - turns.due_ns[open_still]) / NS_PER_S
    hung = waited_s[waited_s > HUNG_SHARE * facts.order.limit_s]
    if not len(hung):
        return "raise rigor.limit_s"
    return f"look at the server's log ({len(hung)} answers were still open after {hung.min():.4g} s and more), or raise rigor.limit_s"

"""`openagentperf selfcheck`: how many agents this host's client can drive exactly, against a target that computes nothing."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from openagentperf import planfile, selfcheck
from openagentperf.cli.output import note, say, say_json
from openagentperf.load import ceiling
from openagentperf.records.ceiling import Ceiling, Level


def check(
    agents: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Try this level only; default: search the largest.")
    ] = None,
    speed: Annotated[float, typer.Option(metavar="TOKENS_PER_S", min=1, max=1000, help="Of each answer.")] = 50.0,
    request_bytes: Annotated[
        int, typer.Option(metavar="BYTES", min=100, max=4_000_000, help="Of a session's first request.")
    ] = 30_000,
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="Load processes.")] = 1,
    tiers: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="Service levels whose limits the client's error is a share of.")
    ] = "agentperf",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Measure this host's ceiling, and remember it: `run` then refuses to judge above it."""
    plan = planfile.load(None, planfile.Overrides(tiers=tiers))
    load = selfcheck.Load(speed=speed, request_bytes=request_bytes, workers=workers)
    found = selfcheck.measure(load, plan.tiers, note, agents=agents)
    holds = ceiling.remember(found, searched=agents is None) if found.agents else None
    if json:
        say_json(found)
    else:
        say("\n".join(lines(found)))
        if holds is not None:
            path = shlex.quote(str(ceiling.remembered_at()))
            say(
                f"remembered in {path}"
                if holds is found
                else f"{holds.tokens_per_s:.0f} tokens/s stay remembered in {path}"
            )
    return 0 if found.agents else 4


def lines(found: Ceiling) -> list[str]:
    """What was found, at most 80 columns wide."""
    head = f"{'agents':>7} {'tokens/s':>9} {'TTFT P50':>9} {'P95 off':>9} {'late P99':>9} {'read P99':>9} {'CPU':>6}  exact"
    told = [head, *map(_row, sorted(found.levels, key=lambda level: level.agents)), ""]
    if not found.agents:
        return [*told, "no level was exact: close what else runs on this host, or use another"]
    more = "" if any(level.why for level in found.levels) else " or more"
    processes = "1 load process" if found.workers == 1 else f"{found.workers} load processes"
    return [*told, f"exact up to {found.agents} agents{more}, {found.tokens_per_s:.0f} tokens/s, with {processes}"]


def _row(level: Level) -> str:
    cpu = max(level.cpu_shares, default=0.0)
    return (
        f"{level.agents:7d} {level.tokens_per_s:9.0f} {1000 * level.ttft_p50_off_s:+6.2f} ms {1000 * level.ttft_p95_off_s:+6.2f} ms "
        f"{1000 * level.lateness_s[1]:6.2f} ms {1000 * level.read_lag_p99_s:6.2f} ms {cpu:6.0%}  {'no' if level.why else 'yes'}"
    )

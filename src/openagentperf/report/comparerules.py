"""What two runs may be compared in, and what differs between them.

A figure is compared only where both runs mean the same by it. What is refused is refused figure by figure: a run whose power was read
inside another boundary still has agents. Nothing here looks at whether a number is better. Pure. Source: docs/compare.md#refused
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from openagentperf.plan import Plan
from openagentperf.records.result import TierResult
from openagentperf.report.comparerun import Side
from openagentperf.report.page import clean

CAPACITY = ("agents", "crossing", "agents_per_accelerator", "agents_per_rack", "agents_per_mw", "agents_per_usd_hour")
"""Figures that a search ends in, a value a tier."""
AT_LEVEL = ("ttft", "speed", "ttft_p95", "speed_p25", "e2e_speed_p25")
"""Figures at equal numbers of agents."""
METRICS = CAPACITY + AT_LEVEL
EQUAL_WORK = 0.10
"""On the natural track the mean output may differ by this share, as within one run (docs/methodology.md#tracks)."""


class Refusal(Struct, frozen=True, kw_only=True):
    """Figures that are not compared, and why."""

    figures: tuple[str, ...]
    tier: str = ""
    """"" where every tier is meant."""
    detail: str = ""
    """Which of several: the boundary and basis of agents/MW."""
    why: str


class Differing(Struct, frozen=True, kw_only=True):
    """A setting that is not the same in both."""

    group: str
    """`plan`, `system`, `server`, `corpus`, `environment`."""
    name: str
    a: str
    b: str


def refusals(a: Side, b: Side) -> tuple[Refusal, ...]:
    """Everything that keeps figures of two runs apart; empty where all of them may be compared."""
    return (*_of_everything(a, b), *_of_capacity(a, b), *_of_tiers(a, b))


def blocked(refused: tuple[Refusal, ...], figure: str, tier: str = "", detail: str = "") -> str:
    """Why a figure is not compared; "" where it is."""
    return "; ".join(
        dict.fromkeys(
            r.why
            for r in refused
            if figure in r.figures and r.tier in ("", tier) and (not r.detail or not detail or r.detail == detail)
        )
    )


def _of_everything(a: Side, b: Side) -> Iterator[Refusal]:
    for why in _other_work(a, b):
        yield Refusal(figures=METRICS, why=why)


def _other_work(a: Side, b: Side) -> Iterator[str]:
    """The systems were not asked the same, or one of them is no system."""
    left, right = a.result, b.result
    if left.target != right.target:
        yield f"A was run against {_target(left.target)}, B against {_target(right.target)}"
    elif a.facts.target != b.facts.target:
        yield f"A was run against {_target(a.facts.target)}, B against {_target(b.facts.target)}"
    if left.track != right.track:
        yield f"A is on the {left.track} track, B on the {right.track} track: tracks are never mixed"
    if left.corpus_digest != right.corpus_digest:
        yield f"the corpora differ (A {left.corpus_digest[:12]}, B {right.corpus_digest[:12]}): other turns are other work"
    if left.track == "natural":
        yield from _natural(a, b)


def _natural(a: Side, b: Side) -> Iterator[str]:
    asked, other = a.plan.workload, b.plan.workload
    if asked.max_output_tokens != other.max_output_tokens:
        yield f"max_output_tokens is {asked.max_output_tokens} in A and {other.max_output_tokens} in B"
    if asked.temperature != other.temperature:
        yield f"temperature is {asked.temperature:g} in A and {other.temperature:g} in B"
    left, right = a.result.workmix.output_tokens_mean, b.result.workmix.output_tokens_mean
    if left and right and abs(right / left - 1) > EQUAL_WORK:
        yield (
            f"the answers differ in length (mean {left:.1f} tokens in A, {right:.1f} in B, more than {EQUAL_WORK:.0%} apart): "
            "the work was not equal"
        )


def _target(name: str) -> str:
    return {"endpoint": "an endpoint"}.get(name, f"the {name}" if name.startswith("embedded") else f"a {name}")


def _of_capacity(a: Side, b: Side) -> Iterator[Refusal]:
    apart = [
        f"{name} {left} in A, {right} in B" for name, left, right in _unequal(_flat(a.plan.rigor), _flat(b.plan.rigor))
    ]
    if apart:
        yield Refusal(
            figures=CAPACITY, why=f"the rigor differs ({', '.join(apart)}): what passes the one may fail the other"
        )


def _of_tiers(a: Side, b: Side) -> Iterator[Refusal]:
    for left in a.result.results:
        right = b.tier(left.tier)
        if right is None:
            yield _tier(left, f"B has no tier {left.tier}")
        elif (left.output_speed, left.ttft_s) != (right.output_speed, right.ttft_s):
            yield _tier(left, f"tier {left.tier} is {_limits(left)} in A and {_limits(right)} in B")
        else:
            yield from _of_power(left, right)
            yield from _of_price(a, b, left)
    for right in b.result.results:
        if a.tier(right.tier) is None:
            yield _tier(right, f"A has no tier {right.tier}")


def _tier(tier: TierResult, why: str) -> Refusal:
    return Refusal(figures=CAPACITY, tier=tier.tier, why=why)


def _limits(tier: TierResult) -> str:
    return f"{tier.output_speed:g} tokens/s at P25 and {tier.ttft_s:g} s at P95"


def _of_power(left: TierResult, right: TierResult) -> Iterator[Refusal]:
    """Watts inside one boundary say nothing of those inside another, and a nameplate nothing of a sensor."""
    if not left.agents or not right.agents:
        return  # without a capacity there are no rows of power, whatever was read
    have = {row.name: "A" for row in left.power}
    other = {row.name: "B" for row in right.power}
    for name in sorted(have.keys() ^ other.keys()):
        side, lacks = ("A", "B") if name in have else ("B", "A")
        there = ", ".join(sorted(other if side == "A" else have)) or "none"
        yield Refusal(
            figures=("agents_per_mw",), tier=left.tier, detail=inside(name),
            why=f"{side} has {name}, {lacks} has {there}: boundary and basis are part of the figure's name",
        )  # fmt: skip


def inside(name: str) -> str:
    """`accelerator, measured` of `agents/MW (accelerator, measured)`."""
    return name.partition("(")[2].rstrip(")")


def _of_price(a: Side, b: Side, tier: TierResult) -> Iterator[Refusal]:
    kinds = [_priced(side.plan) for side in (a, b)]
    if None not in kinds and kinds[0] != kinds[1]:
        yield Refusal(
            figures=("agents_per_usd_hour",), tier=tier.tier,
            why=f"A is priced as {kinds[0]}, B as {kinds[1]}",
        )  # fmt: skip


def _priced(plan: Plan) -> str | None:
    """How an hour is priced; None where it is not."""
    price = plan.system.price
    if price is None:
        return None
    if price.usd_per_hour is not None:
        return "rented, power included"
    return "owned, without power" if price.usd_per_kwh is None else "owned, with power"


def cautions(a: Side, b: Side) -> tuple[str, ...]:
    """What does not keep two runs apart, and changes how a difference is read."""
    left, right = a.result, b.result
    said = [
        f"{name} has not finished: its figures are those of its rows so far"
        for name, s in (("A", a), ("B", b))
        if not s.finished
    ]
    if a.facts.server.model != b.facts.server.model:
        said.append(f"the models differ ({_brief(a.facts.server.model)}, {_brief(b.facts.server.model)})")
    if a.plan.system.accelerator != b.plan.system.accelerator:
        said.append(
            f"the accelerators differ ({_brief(a.plan.system.accelerator)}, {_brief(b.plan.system.accelerator)})"
        )
    if left.cache != right.cache:
        said.append(f"A is {left.cache}, B is {right.cache}: a warm cache was ruled out for one of them only")
    if a.plan.endpoint and b.plan.endpoint and a.plan.endpoint.extra_body != b.plan.endpoint.extra_body:
        said.append("extra_body differs: the servers were not asked in the same words")
    if left.version != right.version:
        said.append(
            f"scored by different versions (A {left.version}, B {right.version}): derive both again with one of them"
        )
    if left.target == right.target == "simulated cluster":
        said.append("both are simulated: a difference is a prediction, as good as the constants of both")
    if left.preliminary or right.preliminary:
        said.append("preliminary: rigor below `standard`")
    if one_run(a, b):
        said.append("A and B are one run: every attempt is the same, so that no difference says anything")
    return tuple(said)


def one_run(a: Side, b: Side) -> bool:
    """A run beside itself or its copy. Two real runs never have the same attempts; two simulations of one plan have."""
    if a.path.resolve() == b.path.resolve():
        return True
    real = a.result.target != "simulated cluster"
    return real and len(a.result.phases) > 0 and a.result.phases == b.result.phases


def _brief(name: str) -> str:
    return clean(name or "not named", 60)


def differences(a: Side, b: Side) -> tuple[Differing, ...]:
    """Every setting that is not the same in both, by group."""
    found = []
    for group, left, right in (
        ("plan", _plan(a.plan), _plan(b.plan)),
        ("system", _flat(a.plan.system), _flat(b.plan.system)),
        ("server", _server(a), _server(b)),
        ("corpus", _corpus(a), _corpus(b)),
        ("environment", _flat(_without_times(a.environment)), _flat(_without_times(b.environment))),
    ):
        found += [Differing(group=group, name=name, a=one, b=two) for name, one, two in _unequal(left, right)]
    return tuple(found)


ABSENT = "-"


def _unequal(left: dict[str, str], right: dict[str, str]) -> list[tuple[str, str, str]]:
    names = [*left, *(name for name in right if name not in left)]
    pairs = [(name, left.get(name, ABSENT), right.get(name, ABSENT)) for name in names]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _plan(plan: Plan) -> dict[str, str]:
    whole = msgspec.to_builtins(plan)
    del whole["system"]
    return _flat(whole)


def _server(side: Side) -> dict[str, str]:
    facts = side.facts
    checks = {
        f"preflight {check.name}": f"{check.status}: {check.found}" for check in facts.checks if check.status != "ok"
    }
    return {"target": facts.target, "url": facts.url} | _flat(facts.server) | checks


def _corpus(side: Side) -> dict[str, str]:
    """Its digest says whether it is the same; its figures, how far apart two are."""
    known = {"digest": side.result.corpus_digest, "sealed_root": side.result.sealed_root or ABSENT}
    shown = ("trajectories", "turns", "input_tokens", "output_tokens", "tool_delay_s", "languages", "formats")
    return known | _flat({name: side.card[name] for name in shown if name in side.card})


def _without_times(environment: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in environment.items() if name != "started_unix_s"}


def _flat(value: object, at: str = "") -> dict[str, str]:
    """Leaves of a nested value by their dotted path, as text."""
    value = msgspec.to_builtins(value)
    if isinstance(value, dict) and value:
        return {
            k: v for name, item in value.items() for k, v in _flat(item, f"{at}.{name}" if at else str(name)).items()
        }
    if isinstance(value, list | tuple) and value and all(isinstance(item, dict) for item in value):
        return {k: v for n, item in enumerate(value) for k, v in _flat(item, f"{at}[{n}]").items()}
    return {at: _said(value)}


def _said(value: object) -> str:
    if value in (None, "", [], {}, ()):
        return ABSENT
    if isinstance(value, float):
        return f"{value:.12g}"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

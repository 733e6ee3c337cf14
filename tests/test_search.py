"""The search's rules, one history a row. The laws that hold for every history are in laws/test_search_laws.py.

A history is written as phases `LEVEL KIND : VERDICTS`, kind s (search) or c (certify), one verdict a tier in order:
p (pass), f (fail), i (invalid), s (invalid, and only short of data). `4s:pf` is a search phase at 4 agents that tier a
passed and tier b failed.
"""

from __future__ import annotations

import re

import pytest

from openagentperf import plan
from openagentperf.errors import PlanError
from openagentperf.records.phase import Judged, PhaseKind, TierVerdict, Verdict
from openagentperf.records.standing import Standing
from openagentperf.search.belief import step_size
from openagentperf.search.step import next_step, standings

_KINDS: dict[str, PhaseKind] = {"s": "search", "c": "certify"}
_VERDICTS: dict[str, Verdict] = {"p": "pass", "f": "fail", "i": "invalid", "s": "invalid"}
_REASONS = {"i": ("a slow client",), "s": ("9 measured turns, 50 are needed",)}
_A = plan.Tier(name="a", output_speed=30, ttft_s=10)
_B = plan.Tier(name="b", output_speed=100, ttft_s=5)


def history(text: str) -> tuple[Judged, ...]:
    phases = []
    for index, word in enumerate(text.split()):
        agents, kind, verdicts = re.fullmatch(r"(\d+)([sc]):([pfis]+)", word).groups()  # type: ignore[union-attr]
        phases.append(
            Judged(
                index=index,
                agents=int(agents),
                kind=_KINDS[kind],
                verdicts=tuple(
                    TierVerdict(tier=tier, verdict=_VERDICTS[v], reasons=_REASONS.get(v, ()), short=v == "s")
                    for tier, v in zip("ab", verdicts, strict=False)
                ),
                measured_turns=200,
                completed_trajectories=0,
                failed_turns=0,
            )
        )
    return tuple(phases)


def tiers_of(text: str) -> plan.TierSet:
    two = any(len(word.split(":")[1]) == 2 for word in text.split())
    return plan.TierSet(name="test", tier=(_A, _B) if two else (_A,))


def asked(text: str, **rules: float) -> str | None:
    """`next_step` in the words of a history: `3c`, or None where the search is over."""
    search = plan.Search(**{"limit": 64, **rules})  # type: ignore[arg-type]
    step = next_step(history(text), tiers_of(text), search, plan.Rigor())
    return None if step is None else f"{step.agents}{step.kind[0]}"


def stand(text: str, *, preliminary: bool = False, **rules: float) -> tuple[Standing, ...]:
    search = plan.Search(**{"limit": 64, **rules})  # type: ignore[arg-type]
    return standings(history(text), tiers_of(text), search, plan.Rigor(preliminary=preliminary))


@pytest.mark.parametrize(
    ("resolution", "agents", "want"),
    [
        (0.02, 1, 1),  # floor(0.02) = 0, and a step is at least one agent
        (0.02, 99, 1),  # floor(1.98)
        (0.02, 100, 2),
        (0.02, 1840, 36),  # floor(36.8)
        (0.29, 100, 29),  # 28.999999999999996 in binary
        (0.0, 4096, 1),  # bisect to the last agent
        (1.0, 64, 64),
    ],
)
def test_step_size(resolution: float, agents: int, want: int) -> None:
    assert step_size(resolution, agents) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", "1s"),
        ("1s:p", "2s"),  # ramp x2
        ("1s:p 2s:p 4s:p", "8s"),
        ("1s:p 2s:p 4s:p 8s:f", "6s"),  # the middle of 4 and 8
        ("1s:p 2s:p 4s:p 8s:f 6s:p", "7s"),
        ("1s:p 2s:p 4s:p 8s:f 6s:p 7s:f", "6c"),  # one agent wide: certify, though 6 has passed once
        ("1s:p 2s:p 4s:p 8s:f 6s:p 7s:f 6c:p 6c:p", "6c"),  # three further phases, search phases do not count
        ("1s:p 2s:p 4s:p 8s:f 6s:p 7s:f 6c:p 6c:p 6c:p", None),
        ("1s:p 2s:p 4s:p 8s:f 6s:p 7s:f 6c:p 6c:p 6c:f", "5c"),  # one fail steps down, 5 need not be searched first...
        ("1s:p 2s:p 4s:p 8s:f 6s:p 7s:f 6c:p 6c:p 6c:f 5c:p 5c:p", "5c"),  # ... and its count starts anew
        ("1s:p 2s:p 4s:p 8s:f 6s:p 7s:f 6c:f 6s:f", "5c"),  # a search phase that fails at 6 too changes nothing
        ("1s:f", None),  # no level below one agent
        ("1s:p 2s:f 1c:f", None),  # nor here
    ],
)
def test_ramp_bisect_certify(text: str, want: str | None) -> None:
    assert asked(text) == want


@pytest.mark.parametrize(
    ("text", "rules", "want"),
    [
        ("", {"start": 8}, "8s"),
        ("8s:f", {"start": 8}, "4s"),  # a first level that fails is halved...
        ("8s:f 4s:f 2s:f", {"start": 8}, "1s"),  # ... down to one agent
        ("8s:f 4s:f 2s:p", {"start": 8}, "3s"),
        ("8s:p", {"start": 8}, "16s"),
        ("5s:p 10s:f", {"start": 5}, "7s"),  # the lower middle of an odd width
        ("", {"start": 100, "limit": 64}, "64s"),  # never above the limit
        ("1s:p 2s:p 4s:p", {"limit": 6}, "6s"),  # the ramp's last level is the limit itself
        ("1s:p 2s:p 4s:p 6s:p", {"limit": 6}, "6c"),  # which is certified too
        ("64s:p 128s:f 96s:p 112s:f", {"start": 64, "limit": 500, "resolution": 0.1}, "104s"),  # width 16 > floor(9.6)
        ("64s:p 128s:f 96s:p 112s:f 104s:f", {"start": 64, "limit": 500, "resolution": 0.1}, "96c"),  # width 8 <= 9
        ("64s:p 128s:f 96s:p 112s:f 104s:f 96c:f", {"start": 64, "limit": 500, "resolution": 0.1}, "87c"),  # 96 - 9
        ("4s:p 8s:f 4c:f", {"start": 4, "resolution": 1.0}, "1c"),  # 4 - 4 is no level: one agent is the last resort
    ],
)
def test_start_limit_resolution(text: str, rules: dict[str, float], want: str) -> None:
    assert asked(text, **rules) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("1s:pp 2s:pf", "4s"),  # the ramp goes on until every tier has failed
        ("1s:pp 2s:pf 4s:ff", "3s"),  # b's bracket (1, 2) is closed; a's is not, and search goes before certifying
        ("1s:pp 2s:pf 4s:ff 3s:pf", "3c"),  # highest candidate first
        ("1s:pp 2s:pf 4s:ff 3s:pf 3c:pf 3c:pf 3c:pf", "1c"),
        ("1s:pp 2s:pf 4s:ff 3s:pf 3c:pf 3c:pf 3c:pf 1c:pp 1c:pp 1c:pp", None),
        # Both candidates are 1 and a phase certifies both; b's was invalid once and is made up for.
        ("1s:pp 2s:ff 1c:pi 1c:pp 1c:pp", "1c"),
        ("1s:pp 2s:ff 1c:pi 1c:pp 1c:pp 1c:pp", None),
    ],
)
def test_one_search_serves_every_tier(text: str, want: str | None) -> None:
    assert asked(text) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("1s:pp 2s:fp 4s:fp", "8s"),  # no pass above a's fail: nothing is in doubt
        ("1s:pp 2s:fp 4s:pp", "2s"),  # a passed at 4, above its fail at 2: repeat 2 before anything else
        ("1s:pp 2s:fp 4s:pp 2s:pp", "8s"),  # overruled: a's ramp goes on from 4
        ("1s:pp 2s:fp 4s:pp 2s:fp 8s:pf", "6s"),  # failed again: a's fail is final, another pass above brings no repeat
        ("1s:pp 2s:fp 4s:pp 2s:ip", "2s"),  # an invalid repeat was none
        ("1s:pp 2s:fp 4s:pp 2s:pp 2s:fp", "8s"),  # overruled once, a level that fails again stays failed: no third say
        ("1s:p 4s:p 4s:f 2s:f", "1c"),  # the pass above has a standing fail of its own: 2 is not in doubt
        # Passes at the failed level itself, with none above, overrule nothing: a stays at 1 while b certifies 2.
        ("1s:pp 2s:fp 4s:ff 3s:ff 2c:pp 2c:pp 2c:pp", "1c"),
    ],
)
def test_a_pass_above_a_fail(text: str, want: str) -> None:
    assert asked(text) == want


def test_a_pass_above_a_repeated_fail_is_reported_and_not_believed() -> None:
    a, b = stand("1s:pp 2s:fp 4s:pp 2s:fp 8s:pf 6s:pf 5s:pf 4c:pp 4c:pp 4c:pp 1c:pp 1c:pp 1c:pp")
    assert (a.standing, a.agents, a.passing, a.failing, a.non_monotone) == ("certified", 1, 1, 2, (4, 5, 6, 8))
    assert (b.standing, b.agents, b.passing, b.failing, b.non_monotone) == ("certified", 4, 4, 5, ())


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("1s:i", "1s"),
        ("1s:i 1s:i", "1s"),  # repeated twice at most
        ("1s:i 1s:i 1s:i", None),
        ("1s:i 1s:i 1s:p 2s:i 2s:i", "2s"),  # each phase may be repeated twice
        ("1s:p 2s:f 1c:i 1c:i 1c:p 1c:i 1c:i 1c:p 1c:i 1c:i", "1c"),  # each of the three certifying ones, too
        ("1s:p 2s:f 1s:i 1s:i 1s:i", "1c"),  # search phases at the candidate are not what it waits for
        ("1s:pi 1s:pi 1s:pi", "2s"),  # b has ended, a goes on
        ("1s:pp 2s:pf 4s:pi 8s:pi 16s:pi", "32s"),  # b waits for no phase of the ramp: its invalid ones cost nothing
    ],
)
def test_invalid_phases_are_repeated_twice(text: str, want: str | None) -> None:
    assert asked(text) == want


@pytest.mark.parametrize(
    ("text", "standing", "agents", "failing", "certifying", "left"),
    [
        ("", "unfinished", None, None, (), 15),  # at worst 64 fails: 7 of the ramp, 5 in (32, 64), 3 certifying
        ("1s:p 2s:p 4s:f", "unfinished", None, 4, (), 4),  # one bisection and three certifying
        ("1s:p 2s:p 4s:f 3s:p 3c:p", "unfinished", None, 4, (), 2),
        ("1s:f", "unmet", 0, 1, (), 0),
        ("1s:p 2s:f 1c:p 1c:f", "unmet", 0, 1, (), 0),
        ("1s:p 2s:f 1c:p 1c:p 1c:p", "certified", 1, 2, (2, 3, 4), 0),
        ("1s:p 2s:p 4s:p 8s:p 16s:p 32s:p 64s:p 64c:p 64c:p 64c:p", "at_least", 64, None, (7, 8, 9), 0),
        ("1s:p 2s:i 2s:i 2s:i", "invalid", None, None, (), 0),
    ],
)
def test_standings(
    text: str, standing: str, agents: int | None, failing: int | None, certifying: tuple[int, ...], left: int
) -> None:
    (a,) = standings(history(text), plan.TierSet(name="test", tier=(_A,)), plan.Search(limit=64), plan.Rigor())
    assert (a.standing, a.agents, a.failing, a.certifying, a.phases_left) == (
        standing,
        agents,
        failing,
        certifying,
        left,
    )


def test_a_history_that_was_not_judged_for_a_tier_is_of_another_plan() -> None:
    other = plan.TierSet(name="test", tier=(_A, plan.Tier(name="z", output_speed=1, ttft_s=1)))
    for derived in (standings, next_step):
        with pytest.raises(PlanError, match=r"^plan\.toml: asks for the tier 'z', for which phase 0 was not judged"):
            derived(history("1s:p 2s:f"), other, plan.Search(limit=64), plan.Rigor())


def test_a_standing_without_a_certificate_says_why() -> None:
    assert stand("1s:f")[0].why == "one agent alone misses the service level"
    assert stand("1s:p 2s:i 2s:i 2s:i")[0].why == (
        "the search phase at 2 agents was invalid 3 times, last because of: a slow client"
    )
    assert stand("2s:p 2c:p 2c:p 2c:p", start=2, limit=2)[0].why == "still passes at the search limit of 2 agents"


@pytest.mark.parametrize(
    ("text", "rules", "want"),
    [
        ("1s:s", {}, "2s"),  # the ramp goes on, one attempt a level
        ("1s:s 2s:s 4s:p", {}, "8s"),  # a pass implies what is below it
        ("1s:s 2s:s 4s:p 8s:f 6s:f 5s:f", {}, "4c"),
        ("1s:s 2s:s 4s:f", {}, "3s"),  # the first level with data fails: the highest short one is looked at upwards
        ("1s:s 2s:s 4s:f 3s:p", {}, "3c"),
        ("1s:s 2s:s 4s:s 8s:f 6s:s", {}, "7s"),  # a bisected level is passed over as well
        ("1s:s 2s:s 4s:s 8s:f 6s:f", {}, "5s"),
        ("1s:s 2s:s 4s:f 3s:f", {}, "2s"),  # nothing left in between: the short level decides...
        ("1s:s 2s:s 4s:f 3s:f 2s:s", {}, "2s"),  # ... and its phase in the ramp was the first of three attempts
        ("1s:s 2s:s 4s:f 3s:f 2s:s 2s:s", {}, None),
        ("1s:s 2s:s 4s:f 3s:f 2s:s 2s:p", {}, "2c"),
        ("1s:s 2s:s 4s:f 3s:f 2s:f", {}, "1s"),  # down to the next short one
        ("1s:s 2s:f", {"invalid_repeats": 0}, "1s"),  # asked for another reason than in the ramp, so asked once more...
        ("1s:s 2s:f 1s:s", {"invalid_repeats": 0}, None),  # ... and not again
        ("1s:s 2s:s 4s:s 8s:f", {"resolution": 1.0}, "6s"),  # 4 agents apart, but nobody has seen 4 pass: not closed
        ("1s:i 1s:s", {}, "2s"),  # what spoils a phase is repeated, what is then only short is not
        ("1s:s 2s:i", {}, "2s"),
        ("1s:s 2s:s", {"limit": 2}, None),  # only short levels up to the limit
        ("1s:p 2s:s", {"limit": 2}, "2s"),  # a lower level had data: the limit is worth its repeats
        ("1s:p 2s:s 2s:s", {"limit": 2}, "2s"),
        ("1s:p 2s:s 2s:s 2s:s", {"limit": 2}, None),
        ("1s:p 2s:f 1c:s 1c:s", {}, "1c"),  # certifying phases are repeated like any other that is invalid
        ("1s:p 2s:f 1c:s 1c:s 1c:s", {}, None),
        ("1s:pp 2s:sf 4s:pf", {}, "8s"),  # b's fail at a level where a is short is b's alone
        ("1s:pp 2s:fp 4s:pp 2s:ss", {}, "2s"),  # the repeat of a doubted fail: not a level to pass over
    ],
)
def test_a_level_short_of_data_is_passed_over(text: str, rules: dict[str, float], want: str | None) -> None:
    assert asked(text, **rules) == want


def test_a_short_level_is_not_believed() -> None:
    (a,) = stand("1s:p 2s:s 4s:s")
    assert (a.standing, a.passing, a.failing) == ("unfinished", 1, None)
    (a,) = stand("1s:p 2s:s 4s:s 8s:f 6s:f")
    assert (a.passing, a.failing, a.phases_left) == (1, 6, 5)  # 5 agents, then 4 again, and three certifying


def test_a_tier_that_is_short_of_data_says_what_to_do() -> None:
    todo = "more turns fit into a phase with a larger limit_s in a [rigor] table, or with rigor standard"
    (a,) = stand("1s:s 2s:s", limit=2)
    assert (a.standing, a.agents) == ("invalid", None)
    assert a.why == (
        "no level up to the search limit of 2 agents had enough data, last because of: "
        f"9 measured turns, 50 are needed; {todo}"
    )
    (a,) = stand("1s:s 2s:f 1s:s 1s:s")
    assert (a.standing, a.agents) == ("invalid", None)
    assert a.why == (
        "the search phase at 1 agents was invalid 3 times, last because of: 9 measured turns, 50 are needed; " + todo
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1s:ss 2s:ss 4s:ff", "bisect: a, b between 2 and 4 agents"),
        ("1s:ss 2s:ff", "bisect: a, b had too few turns at 1 agents and failed at 2"),
    ],
)
def test_a_step_beside_a_short_level_says_why(text: str, why: str) -> None:
    step = next_step(history(text), tiers_of(text), plan.Search(), plan.Rigor())
    assert step is not None
    assert step.why == why


def test_a_preliminary_capacity_is_confirmed_not_certified() -> None:
    assert stand("1s:p 2s:f 1c:p 1c:p 1c:p", preliminary=True)[0].standing == "confirmed"


def test_a_certified_level_that_fails_later_is_certified_no_more() -> None:
    """a is certified at 2 while b, spoiled once, still needs a phase there; in that phase a fails."""
    text = "1s:pp 2s:pp 4s:ff 3s:ff 2c:pi 2c:pp 2c:pp"
    assert [(s.standing, s.agents) for s in stand(text)] == [("certified", 2), ("unfinished", None)]
    a, b = stand(text + " 2c:fp")
    assert (a.standing, a.agents, a.failing) == ("unfinished", None, 2)
    assert (b.standing, b.agents, b.certifying) == ("certified", 2, (5, 6, 7))


def test_search_phases_at_the_candidate_never_certify() -> None:
    (a,) = stand("1s:p 2s:f 1s:p 1c:p 1s:p")
    assert a.phases_left == 2


def test_a_search_phase_that_fails_at_the_candidate_starts_its_count_anew() -> None:
    """2 is certified twice, fails, is overruled by the pass at 8 and its own repeat; 3 fails its repeat, so 2 is back."""
    (a,) = stand("1s:p 2s:p 4s:f 3s:f 2c:p 2c:p 2s:f 8s:p 2s:p 3s:f")
    assert (a.failing, a.phases_left) == (3, 3)


def test_a_step_says_why() -> None:
    tiers = plan.TierSet(name="test", tier=(_A, _B))
    step = next_step(history("1s:pp 2s:pp 4s:ff"), tiers, plan.Search(), plan.Rigor())
    assert step is not None
    assert step.why == "bisect: a, b between 2 and 4 agents"

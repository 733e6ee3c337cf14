"""What the phases so far establish about one tier, and which phase it needs next.

A tier's fail stands until it is overruled, and only one thing overrules it: a pass at a higher level that has no
standing fail itself, then a pass when the failed level is repeated, once. A failed certification is final: its level
has had two says, and a third would be a re-roll. The rest follows from the smallest fail that stands:

    failing    the smallest level whose fail stands
    passing    the largest level below it that passed: no pass above a standing fail is ever believed
    candidate  the level to certify: `passing` once the bracket is closed, or one step below a failed certification

Search verdicts come from any phase at the level, whoever asked for it. Certifying ones come only from phases of kind
`certify` at the level that was this tier's candidate before the phase was run.

A level whose search phase was invalid for nothing but too little data (`TierVerdict.short`) is neither: it is passed over
upwards, where more agents take more turns. It does not become `passing`; it only says where to look next. When no
level is left between the highest short one and the smallest fail, that short level decides and is repeated like any other.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, NamedTuple, TypeAlias

from openagentperf import plan
from openagentperf.records.phase import Judged, PhaseKind

Want: TypeAlias = Literal["repeat", "ramp", "bisect", "certify"]
Fail: TypeAlias = Literal["once", "repeated", "certifying"]
"""`once` can still be overruled; the others are final."""

_MORE_TURNS = "more turns fit into a phase with a larger limit_s in a [rigor] table, or with rigor standard"


class Need(NamedTuple):
    """The phase a tier wants next; each need is met by one valid phase and is never had again after it."""

    want: Want
    agents: int
    done: int = 0
    """Certifying phases passed before this one: the second of three is another need than the first."""

    @property
    def kind(self) -> PhaseKind:
        return "certify" if self.want == "certify" else "search"


def step_size(resolution: float, agents: int) -> int:
    """Width of a closed bracket, and the step down after a failed certification, in agents.

        max(1, floor(resolution x agents))

    The 1e-9 keeps a product that is whole on paper whole here: 0.29 x 100 is 28.999999999999996 in binary.
    Source: docs/methodology.md#capacity.
    """
    return max(1, int(resolution * agents + 1e-9))


class Belief:
    """One tier's state, made by `see`-ing the history in order. Lives within one call of `next_step` or `standings`."""

    def __init__(self, tier: str, rules: plan.Search, certify_phases: int) -> None:
        self.tier = tier
        self.rules = rules
        self.certify_phases = certify_phases
        self.ended = ""
        """Why no valid measurement could be had; the tier needs nothing more."""
        self._passed: set[int] = set()
        self._failed: dict[int, Fail] = {}
        self._overruled: set[int] = set()
        self._certifying: dict[int, list[int]] = {}
        self._short: set[int] = set()
        """Passed over; all below the search limit."""
        self._spoiled: Counter[Need] = Counter()

    def see(self, phase: Judged) -> None:
        """Learn from the next phase of the history; a tier that has ended still learns what others' phases show."""
        verdict = phase.verdict(self.tier)
        certifies = phase.kind == "certify" and phase.agents == self.candidate
        if verdict == "invalid":
            self._see_invalid(phase)
        elif verdict == "pass":
            self._see_pass(phase.agents)
            if certifies:
                self._certifying.setdefault(phase.agents, []).append(phase.index)
        else:
            self._see_fail(phase.agents, certifies=certifies)

    def _see_pass(self, agents: int) -> None:
        fail = self._failed.get(agents)
        if fail == "once" and self._passes_above(agents):
            del self._failed[agents]
            self._overruled.add(agents)
        elif fail:
            return  # a phase that another tier wanted here: without a pass above, luck at the level itself overrules nothing
        self._passed.add(agents)

    def _see_fail(self, agents: int, *, certifies: bool) -> None:
        if certifies or self._failed.get(agents) == "certifying":
            self._failed[agents] = "certifying"
        else:
            again = agents in self._failed or agents in self._overruled
            self._failed[agents] = "repeated" if again else "once"
        self._passed.discard(agents)
        self._certifying.pop(agents, None)

    def _see_invalid(self, phase: Judged) -> None:
        need = self.need()
        if need is None or need.agents != phase.agents or (need.kind == "certify" and phase.kind == "search"):
            return  # not the phase this tier waits for: nothing is lost
        self._spoiled[need] += 1
        verdict = next(v for v in phase.verdicts if v.tier == self.tier)
        short = verdict.short and phase.kind == "search" and need.want in ("ramp", "bisect")
        because = f", last because of: {'; '.join(verdict.reasons)}" if verdict.reasons else ""
        because += f"; {_MORE_TURNS}" if short else ""
        if short and need.agents not in self._short:
            if need.agents < self.rules.limit:
                self._short.add(need.agents)
                # Should this level decide in the end, this was the first of its attempts, whatever it was asked for.
                self._spoiled[Need("bisect", need.agents)] = self._spoiled[need]
                return
            if not self.passing:  # else the limit is one level among others that had data, and worth its repeats
                self.ended = f"no level up to the search limit of {need.agents} agents had enough data" + because
                return
        if self._spoiled[need] > self.rules.invalid_repeats:
            times = self._spoiled[need]
            self.ended = f"the {need.kind} phase at {need.agents} agents was invalid {times} times" + because

    @property
    def failing(self) -> int | None:
        """Smallest level whose fail stands."""
        return min(self._failed, default=None)

    @property
    def passing(self) -> int:
        """Largest level below every standing fail that passed; 0 where none."""
        return max(self._below(self.failing), default=0)

    @property
    def floor(self) -> int:
        """Where the search looks upwards from: `passing`, or the largest short level between it and `failing`."""
        return self._floor(self.passing, self.failing)

    @property
    def non_monotone(self) -> tuple[int, ...]:
        """Levels that passed above a fail that is final."""
        final = min((n for n, fail in self._failed.items() if fail != "once"), default=None)
        return () if final is None else tuple(sorted(n for n in self._passed if n > final))

    @property
    def candidate(self) -> int | None:
        """The level to certify; 0 where even one agent fails; None while the bracket is open or its fail is in doubt."""
        failing, passing = self.failing, self.passing
        if failing is None:
            return passing if passing >= self.rules.limit else None
        uncertified = min((n for n, fail in self._failed.items() if fail == "certifying"), default=None)
        if uncertified is not None:
            # At one agent there is no lower level to go to; above it, a step as wide as the level itself still leaves one.
            lid = max(1, uncertified - self._step(uncertified)) if uncertified > 1 else 0
            if failing > lid:
                return lid
        if self._doubted(failing) or failing - passing > self._step(passing):
            return None
        return passing

    def certifying(self) -> tuple[int, ...]:
        """`Judged.index` of the candidate's certifying phases so far, at most as many as are asked for."""
        candidate = self.candidate
        return () if candidate is None else tuple(self._certifying.get(candidate, ())[: self.certify_phases])

    def need(self) -> Need | None:
        """The phase this tier wants next; None when it is finished."""
        if self.ended:
            return None
        candidate, failing = self.candidate, self.failing
        if candidate is not None:
            done = len(self.certifying())
            return None if candidate == 0 or done >= self.certify_phases else Need("certify", candidate, done)
        if failing is None:
            return Need("ramp", self._ramp_above(self.floor))
        if self._doubted(failing):
            return Need("repeat", failing)
        # From floor = 0 this halves: a first level that fails is followed down to one agent by the same rule. From a short
        # floor it ends at the floor itself: no resolution closes a bracket whose lower end nobody has seen pass.
        return Need("bisect", (self.floor + failing) // 2)

    def phases_left(self) -> int:
        """At most this many more phases, if all are valid, every certification passes and no new verdict contradicts an old one."""
        need = self.need()
        if need is None:
            return 0
        if need.want == "certify":
            return self.certify_phases - need.done
        if need.want == "repeat":
            above = min((n for n in self._failed if n > need.agents), default=None)
            search = 1 + max(
                self._search_left(self.passing, need.agents),
                self._search_left(max(self._below(above), default=0), above),
            )
        else:
            search = self._search_left(self.passing, self.failing)
        return search + self.certify_phases

    def _search_left(self, passing: int, failing: int | None) -> int:
        floor = self._floor(passing, failing)
        if failing is not None:
            short = floor > passing
            step = 1 if short else self._step(passing)
            return max(0, -(-(failing - floor) // step) - 1).bit_length() + short  # ceil(log2(width / step))
        worst = phases = 0
        while floor < self.rules.limit:
            level = self._ramp_above(floor)
            phases += 1
            worst = max(worst, phases + self._search_left(passing, level))
            passing = floor = level
        return worst

    def _floor(self, passing: int, failing: int | None) -> int:
        return max(passing, *(n for n in self._short if failing is None or n < failing), 0)

    def _ramp_above(self, passing: int) -> int:
        level = self.rules.start
        while level <= passing:
            level *= 2
        return min(level, self.rules.limit)

    def _step(self, agents: int) -> int:
        return step_size(self.rules.resolution, agents)

    def _below(self, failing: int | None) -> list[int]:
        return [n for n in self._passed if failing is None or n < failing]

    def _passes_above(self, agents: int) -> bool:
        return any(n > agents for n in self._passed)

    def _doubted(self, failing: int) -> bool:
        return self._failed[failing] == "once" and self._passes_above(failing)

"""The trajectories of a corpus on their way into the compiled file: fitted to the plan, proven, and everything changed counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from openagentperf.corpus.card import CardMaker
from openagentperf.corpus.fit import (
    DELAY_CAP_NS,
    DELAY_FLOOR_NS,
    cut,
    fault,
    missing_delays,
    recorded_delays,
    shorten_delays,
    turns_of,
    with_delays,
)
from openagentperf.corpus.prefix import Break, prove
from openagentperf.corpus.rewrites import cause_of
from openagentperf.errors import CorpusError, OpenAgentPerfError
from openagentperf.plan import Workload
from openagentperf.records.trajectory import Skipped, Trajectory
from openagentperf.units import Ns, ns_to_s, s_to_ns
from openagentperf.wire.chat import encode_message

_CUTS = "; --max-tool-delay (workload.max_tool_delay_s) cuts them"


class Fitting:
    """Passes on the trajectories that can be replayed, fitted to the plan, and keeps count of the rest."""

    def __init__(self, workload: Workload, seed: int, skipped: list[Skipped]) -> None:
        self._workload, self._seed, self._skipped = workload, seed, skipped
        self._count: Counter[str] = Counter()
        self._waits = _Waits()
        limit_s = workload.max_tool_delay_s
        self._limit_ns = None if limit_s is None else s_to_ns(limit_s)
        self._cap_ns = DELAY_CAP_NS if self._limit_ns is None else min(DELAY_CAP_NS, self._limit_ns)
        self.maker = CardMaker("estimate")

    def passing(self, trajectories: Iterable[Trajectory]) -> Iterator[Trajectory]:
        """Each trajectory that can be replayed, cut where the plan says so, with the delays it lacks. CorpusError where none is left."""
        limit = self._workload.max_context_tokens
        count = self._count
        for whole in trajectories:
            count["read"] += 1
            if why := fault(whole):
                count["broken"] += 1
                self._skip(whole, why)
                continue
            trajectory = cut(whole, limit)
            if trajectory is None:
                count["too long"] += 1
                continue
            count["shortened"] += trajectory is not whole
            count["turns cut"] += turns_of(whole) - turns_of(trajectory)
            count["branches cut"] += len(whole.branches) - len(trajectory.branches)
            if not self._stable(trajectory):
                continue
            count["passed"] += 1
            trajectory = self._waits.shortened(trajectory, self._limit_ns)
            count["drawn"] += missing_delays(trajectory)
            self.maker.add(trajectory)
            yield with_delays(trajectory, self._seed, self._cap_ns)
        if not count["passed"]:
            raise self._nothing_left()

    def _stable(self, trajectory: Trajectory) -> bool:
        """Whether the prefix is stable, or broken only where that is declared or allowed."""
        proof = prove(trajectory, encode_message)
        if proof.encoder:
            raise OpenAgentPerfError(
                trajectory.id,
                f"{_named(proof.encoder[0])} encodes messages of the turn before to other bytes",
                "equal messages must give equal bytes",
                "report this with the recording",
            )
        if not proof.undeclared:
            return True
        if self._workload.allow_rewritten_history:
            self._count["marked"] += 1
            self._count["rewrites"] += len(proof.undeclared)
            return True
        first = proof.undeclared[0]
        self._count["refused"] += 1
        self._skip(
            trajectory,
            f"{_named(first)} rewrites its history without declaring it: {cause_of(trajectory, first.branch, first.turn)} "
            f"(of {first.of_bytes} bytes {first.kept_bytes} stay as they were): set workload.allow_rewritten_history to take it as it is",
        )
        return False

    def _skip(self, trajectory: Trajectory, why: str) -> None:
        self._skipped.append(Skipped(f"{trajectory.source or self._workload.corpus}, {trajectory.id}", why))

    def notes(self) -> tuple[str, ...]:
        """What was cut, left out or drawn, each with its number; what did not happen is not said."""
        count, workload = self._count, self._workload
        context = workload.max_context_tokens
        law = f"log-normal, median 1 s, sigma 1.3, {ns_to_s(min(DELAY_FLOOR_NS, self._cap_ns)):g} to {ns_to_s(self._cap_ns):g} s"
        cut = f"{count['turns cut']} turns left out"
        if count["branches cut"]:
            cut += f", {count['branches cut']} sub-agents among them whole"
        lines = (
            (count["broken"], "trajectories left out because they are broken: {}"),
            (count["shortened"], f"trajectories cut to {context} tokens of context: {{}} ({cut})"),
            (count["too long"], f"trajectories left out because their first turn is longer than {context} tokens: {{}}"),
            (count["refused"], "trajectories left out because they rewrite their history without declaring it: {}"),
            (count["marked"], f"trajectories taken that rewrite their history without declaring it: {{}} ({count['rewrites']} times)"),
            (count["drawn"], f"tool delays drawn where the recording has none: {{}} ({law})"),
        )  # fmt: skip
        said = [text.format(number) for number, text in lines if number]
        return (*said, *self._waits.notes(workload.max_tool_delay_s))

    def _nothing_left(self) -> CorpusError:
        count = self._count
        reasons = (
            (count["broken"], "broken", "import the recordings anew"),
            (count["too long"], "too long for the context", "raise workload.max_context_tokens"),
            (count["refused"], "rewriting their history undeclared", "set workload.allow_rewritten_history"),
        )
        found = ", ".join(f"{number} {why}" for number, why, _ in reasons if number)
        fixes = [fix for number, _, fix in reasons if number] or ["import or build trajectories"]
        return CorpusError(
            self._workload.corpus,
            f"leaves no trajectory to replay ({count['read']} read" + (f": {found})" if found else ")"),
            "at least one is needed",
            ", or ".join(fixes),
        )


def _named(found: Break) -> str:
    return f"turn {found.turn} of branch {found.branch!r}" if found.branch else f"turn {found.turn}"


class _Waits:
    """Counts recorded tool delays: hours of a person's absence stand among them, and must be seen whether they are cut or not."""

    def __init__(self) -> None:
        self._recorded = self._long = self._cut = 0
        self._longest_ns: Ns = 0

    def shortened(self, trajectory: Trajectory, limit_ns: Ns | None) -> Trajectory:
        """The trajectory with no recorded delay above the limit, if there is one."""
        for delay_ns in recorded_delays(trajectory):
            self._recorded += 1
            self._long += delay_ns > DELAY_CAP_NS
            self._longest_ns = max(self._longest_ns, delay_ns)
        if limit_ns is None:
            return trajectory
        shortened, number = shorten_delays(trajectory, limit_ns)
        self._cut += number
        return shortened

    def notes(self, limit_s: float | None) -> tuple[str, ...]:
        """One sentence where delays were cut, or where none may be and some are longer than any that we draw."""
        if limit_s is None:
            what, number, option = f"above {ns_to_s(DELAY_CAP_NS):g} s, waited for in full", self._long, _CUTS
        else:
            what, number, option = f"cut to {limit_s:g} s", self._cut, ""
        if not number:
            return ()
        share = f"{100 * number / self._recorded:.3g} %"
        longest = f"the longest {ns_to_s(self._longest_ns):,.1f} s"
        return (f"tool delays {what}: {number} of {self._recorded} recorded ({share}), {longest}{option}",)

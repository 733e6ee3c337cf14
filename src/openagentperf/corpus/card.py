"""Counts a set of trajectories into its card, one pass, at 32 bytes a turn: 10,000 trajectories need 10 MB."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable

import numpy as np

from openagentperf.corpus.published import compare, farthest, output_ks
from openagentperf.corpus.tokens import estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.card import Card, Spread
from openagentperf.records.trajectory import Trajectory, Turn, lines
from openagentperf.units import NS_PER_S, ns_to_s

UNKNOWN = "unknown"
Z95 = 1.6448536269514722
"""95th percentile of the standard normal."""


class CardMaker:
    """`add` every trajectory of the set, then ask for the `card`."""

    def __init__(self, counter: str = "") -> None:
        self._counter = counter
        self._turns = array("q")
        self._branching = 0
        self._branches = 0
        self._branch_turns = 0
        self._inputs = array("q")
        self._outputs = array("q")
        self._growths = array("q")
        self._reuses = array("d")
        self._delays_ns = array("q")
        self._inner_turns = 0
        self._shared_tokens = 0
        self._input_tokens = 0
        self._calls = 0
        self._calling_turns = 0
        self._parallel_turns = 0
        self._cuts: Counter[str] = Counter()
        self._languages: Counter[str] = Counter()
        self._formats: Counter[str] = Counter()
        self._licences: Counter[str] = Counter()
        self._counted: Counter[str] = Counter()

    def _curves(self) -> dict[str, tuple[float, ...]]:
        curves = {
            "input_tokens": _curve(self._inputs),
            "output_tokens": _curve(self._outputs),
            "turns_per_trajectory": _curve(self._turns),
            "prefix_reuse": _curve(self._reuses),
        }
        if self._growths:
            curves["growth_tokens"] = _curve(self._growths)
        if self._delays_ns:
            curves["tool_delay_s"] = _curve(self._delays_ns, 1 / NS_PER_S)
        return curves

    def add(self, trajectory: Trajectory) -> None:
        of_branches = sum(len(branch.turns) for branch in trajectory.branches)
        self._turns.append(len(trajectory.turns) + of_branches)
        self._branching += bool(trajectory.branches)
        self._branches += len(trajectory.branches)
        self._branch_turns += of_branches
        self._languages[trajectory.language or UNKNOWN] += 1
        self._formats[trajectory.format or UNKNOWN] += 1
        self._licences[trajectory.licence or UNKNOWN] += 1
        shared_before, input_before = self._shared_tokens, self._input_tokens
        for line in lines(trajectory):
            before: Turn | None = None
            for turn in line.turns:
                self._add_turn(turn, before)
                before = turn
        self._reuses.append((self._shared_tokens - shared_before) / max(1, self._input_tokens - input_before))

    def _add_turn(self, turn: Turn, before: Turn | None) -> None:
        self._inputs.append(turn.input_tokens)
        self._input_tokens += turn.input_tokens
        self._outputs.append(turn.output_tokens)
        self._counted[turn.counted] += 1
        self._calls += turn.tool_calls
        self._calling_turns += turn.tool_calls > 0
        self._parallel_turns += turn.tool_calls > 1
        if turn.keep is not None:
            self._cuts[turn.cut or "undeclared"] += 1
        if before is None:
            return
        self._growths.append(turn.input_tokens - before.input_tokens)
        self._shared_tokens += _shared(turn, before)
        self._inner_turns += 1
        if before.tool_delay_ns is not None:
            self._delays_ns.append(before.tool_delay_ns)

    def card(self) -> Card:
        """The card of all that was added; CorpusError where that is no turn."""
        total = len(self._inputs)
        if not total:
            raise CorpusError(
                "corpus", "holds no turn", "a card describes at least one", "import or build trajectories"
            )
        turns, inputs, outputs = _spread(self._turns), _spread(self._inputs), _spread(self._outputs)
        delays = _spread(self._delays_ns) if self._delays_ns else None
        delays_s = None if delays is None else _scaled(delays)
        sigma = math.log(outputs.p95 / outputs.p50) / Z95 if outputs.p50 > 0 else None
        languages = _shares(self._languages)
        published = compare(turns, inputs, outputs, sigma, delays_s, len(languages.keys() - {UNKNOWN}))
        return Card(
            trajectories=len(self._turns),
            turns=total,
            turns_per_trajectory=turns,
            trajectories_with_branches=self._branching,
            branches=self._branches,
            branch_turns=self._branch_turns / total,
            input_tokens=inputs,
            output_tokens=outputs,
            output_sigma=sigma,
            growth_tokens=_spread(self._growths) if self._growths else None,
            tool_delay_s=delays_s,
            tool_delay_missing=1 - len(self._delays_ns) / self._inner_turns if self._inner_turns else 0.0,
            prefix_reuse=self._shared_tokens / max(1, self._input_tokens),
            tool_calls_per_turn=self._calls / total,
            parallel_share=self._parallel_turns / self._calling_turns if self._calling_turns else None,
            cuts=dict(sorted(self._cuts.items())),
            languages=languages,
            formats=_shares(self._formats),
            licences=_shares(self._licences),
            counted=_shares(self._counted),
            counter=self._counter,
            published=published,
            farthest=farthest(published),
            output_ks=output_ks(np.frombuffer(self._outputs, dtype=np.int64)),
            curves=self._curves(),
        )


def card(trajectories: Iterable[Trajectory], counter: str = "") -> Card:
    """The card of a set; `counter` names what counted the tokens of its estimated turns."""
    maker = CardMaker(counter)
    for trajectory in trajectories:
        maker.add(trajectory)
    return maker.card()


def _shared(turn: Turn, before: Turn) -> int:
    """Input tokens that `turn` has in common with `before`, from the front (records.card.Card.prefix_reuse)."""
    if turn.keep is None:
        return min(turn.input_tokens, before.input_tokens)
    appended = sum(map(estimate_message, turn.appended))
    return max(0, min(turn.input_tokens - appended, before.input_tokens))


def _curve(values: array[int] | array[float], scale: float = 1) -> tuple[float, ...]:
    """P0, P1, ... P100."""
    column = np.frombuffer(values, dtype=np.int64 if values.typecode == "q" else np.float64)
    return tuple((np.quantile(column, np.arange(101) / 100, method="linear") * scale).tolist())


def _spread(values: array[int]) -> Spread:
    column = np.frombuffer(values, dtype=np.int64)
    low, p5, p50, p95, high = np.quantile(column, (0.0, 0.05, 0.5, 0.95, 1.0), method="linear").tolist()
    return Spread(min=low, p5=p5, p50=p50, p95=p95, max=high, mean=float(column.mean()))


def _scaled(ns: Spread) -> Spread:
    return Spread(
        min=ns_to_s(round(ns.min)),
        p5=ns_to_s(round(ns.p5)),
        p50=ns_to_s(round(ns.p50)),
        p95=ns_to_s(round(ns.p95)),
        max=ns_to_s(round(ns.max)),
        mean=ns_to_s(round(ns.mean)),
    )


def _shares(counts: Counter[str]) -> dict[str, float]:
    """Shares of the sum, most common first, ties by name."""
    total = counts.total()
    return {name: count / total for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))}

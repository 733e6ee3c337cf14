"""Two or more runs compared: the first is what the others are held against. Reads folders, prints nothing.

`compare` is what the command line and the dashboard call; the result is plain data (`Comparison`), which `comparetext` and `comparepage`
show.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from openagentperf.errors import UsageError
from openagentperf.report import comparefigures, comparegate, comparerules, comparerun
from openagentperf.report.comparefigures import Figure
from openagentperf.report.comparegate import Gate, Outcome
from openagentperf.report.comparerules import Differing, Refusal
from openagentperf.report.comparerun import Side
from openagentperf.score import normalise


class Compared(Struct, frozen=True, kw_only=True):
    """What stands over a column: a run and what its figures claim."""

    run: str
    """Name of its folder."""
    model: str
    system: str
    tiers: str
    rigor: str
    track: str
    target: str
    provenance: str
    preliminary: bool
    finished: bool


class Pair(Struct, frozen=True, kw_only=True):
    """B held against A."""

    a: Compared
    b: Compared
    refused: tuple[Refusal, ...]
    cautions: tuple[str, ...]
    figures: tuple[Figure, ...]
    """Capacities per tier, then figures at equal numbers of agents."""
    differences: tuple[Differing, ...]
    gates: tuple[Outcome, ...] = ()

    @property
    def compared(self) -> bool:
        """Whether anything could be compared at all."""
        return any(figure.ratio is not None for figure in self.figures)


class Comparison(Struct, frozen=True, kw_only=True):
    """What `compare --format json` prints."""

    schema: str = "openagentperf/comparison/1"
    forced: bool
    """Figures that are not comparable were compared all the same, each marked by its `refused`."""
    pairs: tuple[Pair, ...]

    @property
    def gates_hold(self) -> bool:
        return all(outcome.verdict == "pass" for pair in self.pairs for outcome in pair.gates)


def compare(runs: Sequence[Path], gates: Sequence[Gate] = (), force: bool = False) -> Comparison:
    """The first of `runs` against each of the others.

    UsageError: fewer than two, or one that is no run folder. StorageError: a file that says what was run is missing or broken; without a
    phase's rows only the figures that need them are missing.
    """
    if len(runs) < 2:
        raise UsageError("compare", f"was given {len(runs)} run", "two or more were needed", "name the baseline first")
    first, *others = [comparerun.load(path) for path in runs]
    return Comparison(forced=force, pairs=tuple(_pair(first, other, gates, force) for other in others))


def _pair(a: Side, b: Side, gates: Sequence[Gate], force: bool) -> Pair:
    refused = comparerules.refusals(a, b)
    figures = (
        *comparefigures.capacities(a, b, refused, force),
        *comparefigures.at_levels(a, b, refused, force),
    )
    moot = "A and B are one run" if comparerules.one_run(a, b) else ""
    return Pair(
        a=_compared(a), b=_compared(b), refused=refused, cautions=comparerules.cautions(a, b), figures=figures,
        differences=comparerules.differences(a, b), gates=comparegate.decide(gates, figures, moot),
    )  # fmt: skip


def _compared(side: Side) -> Compared:
    result, system = side.result, side.plan.system
    count = normalise.accelerators(system)
    inventory = f"{count} x {system.accelerator or 'accelerator'}" if count else ""
    return Compared(
        run=side.name, model=side.facts.server.model, system=system.name or inventory, tiers=result.tiers,
        rigor=result.rigor, track=result.track, target=result.target, provenance=result.provenance,
        preliminary=result.preliminary, finished=side.finished,
    )  # fmt: skip

"""`openagentperf simulate`: the same question to a model of a cluster, for hardware that you do not have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from msgspec.structs import replace

from openagentperf import planfile
from openagentperf.cli.calibrate import carry_out, numbers
from openagentperf.cli.display import display
from openagentperf.cli.options import Json, PlanPath, Tiers
from openagentperf.cli.output import say, say_json
from openagentperf.cli.run import Interrupted, Watch, stops
from openagentperf.cli.summary import summary
from openagentperf.errors import PlanError
from openagentperf.plan import Plan
from openagentperf.planfile import Overrides
from openagentperf.simulation import bands, calibrated, job
from openagentperf.simulation.wish import simulation_of
from openagentperf.tomlfile import parse

_CORPUS = "agentperf"
_TRAJECTORIES = 500
"""Of a generated corpus where the plan names no number: of fewer sessions the mean answer depends on the seed."""

System = Annotated[str | None, typer.Option("--system", metavar="NAME", help="A system of the catalogue.")]
Model = Annotated[str | None, typer.Option("--model", metavar="NAME", help="A model of the catalogue.")]
Deployed = Annotated[
    str | None,
    typer.Option("--deployment", metavar="NAME|FILE", help="How it is served: pools, TP, EP, batch, precision. Default: `default`."),
]  # fmt: skip
Catalogs = Annotated[
    list[Path] | None, typer.Option("--catalog", metavar="FILE", help="Entries of your own (docs/catalog.md); several may be given.")
]  # fmt: skip
Corpus = Annotated[
    str | None, typer.Option("--corpus", metavar="PATH", help="A profile, a set, a compiled corpus or recordings. Default: agentperf.")
]  # fmt: skip
MaxContext = Annotated[
    int | None, typer.Option("--max-context", metavar="TOKENS", help="Cut a trajectory before its first longer turn.")
]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Same seed, same bytes.")]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", help="Never more agents than this.")]
Calibrated = Annotated[
    Path | None, typer.Option("--calibrate", metavar="RUN", help="Fit an engine's constants to this run folder, and simulate that engine.")
]  # fmt: skip
FitLevels = Annotated[
    str | None, typer.Option("--fit-levels", metavar="N,N", help="Fit to the run's phases at these numbers of agents. Default: all.")
]  # fmt: skip
Levels = Annotated[
    str | None, typer.Option("--levels", metavar="N,N", help="With --calibrate: predict these levels instead of searching.")
]  # fmt: skip
Slots = Annotated[
    int | None, typer.Option("--slots", metavar="N", min=1, help="With --calibrate: the server's slots (llama.cpp's --parallel), if known.")
]  # fmt: skip
Silicon = Annotated[
    str | None,
    typer.Option("--silicon", metavar="PATH|aiconfigurator", help="Steps from measured kernel tables, not rates (docs/calibrate.md)."),
]  # fmt: skip

FailWorker = Annotated[
    list[str] | None,
    typer.Option("--fail-worker", metavar="POOL:N@S", help="Worker N of a pool fails S seconds into every window; several may be given."),
]  # fmt: skip


def simulate(
    plan: PlanPath = None,
    *,
    system: System = None,
    model: Model = None,
    deployment: Deployed = None,
    catalog: Catalogs = None,
    silicon: Silicon = None,
    fail_worker: FailWorker = None,
    tiers: Tiers = None,
    corpus: Corpus = None,
    max_context: MaxContext = None,
    seed: Seed = None,
    limit: Limit = None,
    calibrate: Calibrated = None,
    fit_levels: FitLevels = None,
    levels: Levels = None,
    slots: Slots = None,
    quick: Annotated[bool, typer.Option("--quick", help="Rigor `quick`: a preliminary number in seconds.")] = False,
    no_band: Annotated[
        bool,
        typer.Option("--no-band", help="Leave out the search with the uncertain constants at their worst and best."),
    ] = False,
    out: Annotated[Path, typer.Option(metavar="RUNS_DIR", help="Where run folders are made.")] = Path("runs"),
    json: Json = False,
    plain: Annotated[bool, typer.Option("--plain", help="Progress as plain lines, no control codes.")] = False,
) -> int:
    """Search a simulated cluster for the largest number of agents at which every service level holds. Nothing is measured."""
    given = {
        "system": system,
        "model": model,
        "deployment": deployment,
        "catalog": list(map(str, catalog or ())),
        "silicon": silicon,
        "fail_worker": fail_worker,
    }
    overrides = Overrides(
        tiers=tiers, corpus=corpus, max_context=max_context, seed=seed, limit=limit, rigor="quick" if quick else None
    )
    named = {name: value for name, value in given.items() if value}
    if calibrate is not None and plan is None:
        wish = calibrated.plan_of(calibrate, overrides)
    else:
        wish = wished(plan, overrides, named | ({} if calibrate is None else {"calibrate": str(calibrate)}))
    assert wish.simulate is not None
    if wish.simulate.calibrate and wish.simulate.fail_worker:
        named["fail_worker"] = list(wish.simulate.fail_worker)
    if wish.simulate.calibrate and named:
        option = next(iter(named))
        raise PlanError(
            f"--{option.replace('_', '-')}" if given[option] else f"simulate.{option}",
            "names what to simulate, and so does --calibrate",
            "one of them was needed",
            "leave one out",
        )
    fit_to, at = numbers(fit_levels, "--fit-levels"), numbers(levels, "--levels")
    if not wish.simulate.calibrate:
        _refuse_without_calibrate({"--fit-levels": fit_levels, "--levels": levels, "--slots": slots})
    with interruptible() as stopped:
        if wish.simulate.calibrate:
            return carry_out(
                wish, stopped, fit_to=fit_to, levels=at, slots=slots, band=not no_band, out=out, json=json, plain=plain
            )
        simulation = simulation_of(wish.simulate)
        banded = None if no_band else bands.for_catalogue()
        with display(plain) as shown:
            outcome = job.simulate(wish, simulation, out, Watch(shown, None, stopped), banded)
    if json:
        say_json({"folder": str(outcome.folder)} | msgspec.to_builtins(outcome.result))
    else:
        say(summary(outcome.result, str(outcome.folder)))
    return outcome.result.exit_code


def _refuse_without_calibrate(options: dict[str, object]) -> None:
    if given := [name for name, value in options.items() if value is not None]:
        raise PlanError(
            given[0], "stands without --calibrate", "it speaks of a measured run, which is needed",
            f"add --calibrate RUN, or leave {given[0]} out",
        )  # fmt: skip


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """`stops`, and what is said of a simulation that was interrupted: there is nothing to go on with."""
    with stops() as stopped:
        try:
            yield stopped
        except KeyboardInterrupt:
            raise Interrupted(
                "interrupted", "a simulation is not gone on with", "", "the same command gives the same numbers: start it again"
            ) from None  # fmt: skip


def wished(path: Path | None, overrides: Overrides, simulated: dict[str, Any]) -> Plan:
    """The plan that a file and options ask for; without either the `agentperf` profile is replayed. PlanError where it names no system.

    A phase may be as long as `--limit` needs: its hours are virtual.
    """
    named = path is not None and "corpus" in parse(path).get("workload", {})
    if overrides.corpus is None and not named:
        overrides = replace(overrides, corpus=_CORPUS)
    plan = planfile.load(path, overrides, simulated)
    if "trajectories" not in (parse(path) if path is not None else {}).get("workload", {}):
        plan = replace(plan, workload=replace(plan.workload, trajectories=_TRAJECTORIES))
    wish = plan.simulate
    if wish is None or not (wish.calibrate or (wish.system and wish.model)):
        raise PlanError(
            str(path or "simulate"), "names no system and model to simulate", "both are needed",
            "add --system NAME --model NAME (`openagentperf catalog list`), or --calibrate RUN",
        )  # fmt: skip
    return plan

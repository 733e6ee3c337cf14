"""`openagentperf target`: the embedded simulated node by itself, or one worker of a catalogue system, to point other clients at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openagentperf.errors import UsageError
from openagentperf.plan import Simulate
from openagentperf.sim import serve


def target(
    *,
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="Loopback port; 0 takes a free one.")] = 0,
    system: Annotated[
        str | None, typer.Option(metavar="NAME", help="One worker of this system of the catalogue; needs --model.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="A model of the catalogue, served under this name.")
    ] = None,
    deployment: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="How it is served; an aggregated one, without data parallelism.")
    ] = "default",
    catalog: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Entries of your own (docs/catalog.md).")
    ] = None,
) -> int:
    """Run the embedded simulated node in the foreground, until Ctrl-C; prints its URL."""
    if system is None and model is None:
        serve.main(["--port", str(port)])
        return 0
    if system is None or model is None:
        raise UsageError(
            "target", f"--{'system' if model is None else 'model'} alone", "both were needed", "see `openagentperf catalog list`"
        )  # fmt: skip
    # Not at the top: the catalogue is nothing that the embedded node needs to start.
    from openagentperf.sim.workernode import node_of, power_of
    from openagentperf.simulation.wish import simulation_of

    files = tuple(str(file) for file in catalog or ())
    wish = Simulate(system=system, model=model, deployment=deployment, catalog=files)
    spec = simulation_of(wish).compiled.spec
    serve.run(serve.serve(node_of(spec), model, port, until_stdin_closes=False, power=power_of(spec)))
    return 0

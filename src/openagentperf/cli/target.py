"""`openagentperf target`: the embedded simulated node by itself, to point other clients at."""

from __future__ import annotations

from typing import Annotated

import typer

from openagentperf.sim import serve


def target(
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="Loopback port; 0 takes a free one.")] = 0,
) -> int:
    """Run the embedded simulated node in the foreground, until Ctrl-C; prints its URL."""
    serve.main(["--port", str(port)])
    return 0

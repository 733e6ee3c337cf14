"""`openagentperf dashboard`: runs of a folder in a browser, live."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from openagentperf.cli.output import note, say
from openagentperf.errors import UsageError


def dashboard(
    runs: Annotated[Path, typer.Argument(metavar="RUNS", help="Folder of run folders, or one run folder.")] = Path("runs"),
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Where it listens. Anything but loopback needs a token, which is made and printed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0 takes a free one.")] = 8380,
    token: Annotated[
        str, typer.Option(metavar="TOKEN", envvar="OPENAGENTPERF_DASHBOARD_TOKEN", help="16 characters or more; asked for on loopback too.")
    ] = "",
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Another name that this host is asked by; repeatable.")
    ] = None,
) -> int:  # fmt: skip
    """Serve a dashboard of the runs in a folder, until Ctrl-C; reads their files and changes nothing."""
    try:
        importlib.import_module("starlette")
        importlib.import_module("uvicorn")
    except ImportError as error:
        raise UsageError(
            "dashboard", f"needs packages that cannot be imported ({error})", "starlette and uvicorn",
            "pip install 'openagentperf[dash,report]'",
        ) from error  # fmt: skip
    # Imported here: the other commands must not need the extra.
    server = importlib.import_module("openagentperf.dash.server")

    def tell(address: str) -> None:
        note(f"runs of {runs}; Ctrl-C ends it")
        say(f"listening on {address}")
        sys.stdout.flush()

    server.serve(server.Wish(runs=runs, host=host, port=port, token=token, hosts=tuple(allow_host or ())), tell)
    return 0

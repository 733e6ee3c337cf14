"""`openagentperf watch`: a run that goes on elsewhere, as its own display shows it, and its figures for collectors."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated

import msgspec
import typer

from openagentperf.cli.display import Display, display
from openagentperf.cli.options import Metrics, MetricsHost, Otlp, RunFolder
from openagentperf.cli.output import note, say
from openagentperf.cli.run import Interrupted, stops
from openagentperf.cli.summary import summary
from openagentperf.errors import UsageError
from openagentperf.live import story
from openagentperf.live.exporters import Exporters, taken
from openagentperf.live.records import Snapshot
from openagentperf.live.watch import RunWatch
from openagentperf.records.result import Result
from openagentperf.rundir import is_run, read_record

_PERIOD_S = 0.5


def watch(
    run: RunFolder,
    *,
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines, no control codes.")] = False,
    metrics_port: Metrics = None,
    metrics_host: MetricsHost = "127.0.0.1",
    otlp: Otlp = False,
) -> int:
    """Show a run that goes on in another process, until it has finished; reads its folder and nothing else."""
    if not is_run(run):
        raise UsageError(
            str(run), "is no run folder", "a folder with plan.toml was needed", "name one that `openagentperf run` made"
        )
    with ExitStack() as stack:
        stopped = stack.enter_context(stops())
        exporters = stack.enter_context(Exporters(taken(metrics_port, metrics_host, otlp), otlp))
        try:
            if exporters.url:
                note(f"metrics on {exporters.url}")
            shown = stack.enter_context(display(plain))
            seen = _follow(RunWatch(run), shown, exporters, stopped)
        except KeyboardInterrupt:
            raise Interrupted("interrupted", "the run itself is not touched") from None
    if seen.now.state == "broken":
        raise Interrupted(str(run), seen.now.message, "", f"openagentperf run --resume {shlex.quote(str(run))} goes on")
    result = read_record(run / "result.json", Result, "a finished run has one", "score the run again")
    say(summary(result, str(run)))
    return result.exit_code


def _follow(watched: RunWatch, shown: Display, exporters: Exporters, stopped: Callable[[], bool]) -> Snapshot:
    """Until the run has ended one way or the other."""
    said: set[str] = set()
    while True:
        seen = watched.poll()
        exporters.show((seen,))
        if seen.now.state in ("finished", "broken"):
            return seen
        progress = story.progress(seen)
        shown(progress)
        for new in [text for text in seen.about.notes if text not in said]:
            said.add(new)
            shown(msgspec.structs.replace(progress, warning=new))
        if stopped():
            raise KeyboardInterrupt
        time.sleep(_PERIOD_S)

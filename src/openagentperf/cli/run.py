"""`openagentperf run`: find out how many agents the system serves at once."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from openagentperf import bench, planfile
from openagentperf.cli.display import Display, display
from openagentperf.cli.drawn import draw
from openagentperf.cli.options import Json, Metrics, MetricsHost, Otlp, PlanPath, takes_overrides
from openagentperf.cli.output import note, say, say_json
from openagentperf.cli.summary import summary
from openagentperf.errors import OpenAgentPerfError, PlanError
from openagentperf.live.attached import Attached
from openagentperf.plan import Plan
from openagentperf.planfile import Overrides
from openagentperf.records.progress import Progress

_FOLDER = "run folder "


class Interrupted(OpenAgentPerfError):
    """Ctrl-C: an answer, not an error; nothing measured so far is lost."""

    exit_code = 130


@takes_overrides
def run(
    plan: PlanPath = None,
    *,
    overrides: Overrides,
    out: Annotated[Path, typer.Option(metavar="RUNS_DIR", help="Where run folders are made.")] = Path("runs"),
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Go on with an unfinished run at its next phase.")
    ] = None,
    ray: Annotated[
        str, typer.Option("--ray", metavar="ADDRESS", help="Make the load on the hosts of this Ray cluster (the `ray` extra).")
    ] = "",
    json: Json = False,
    plain: Annotated[bool, typer.Option("--plain", help="Progress as plain lines, no control codes.")] = False,
    metrics_port: Metrics = None,
    metrics_host: MetricsHost = "127.0.0.1",
    otlp: Otlp = False,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="Do not end with report.html, where the `report` extra is installed.")
    ] = False,
) -> int:  # fmt: skip
    """Search for the largest number of agents at which every service level holds."""
    if resume is not None:
        wish, out = _plan_of(resume, plan, overrides), resume.parent
    else:
        wish = planfile.load(plan, overrides)
    with stops() as stopped, _exporter(metrics_port, metrics_host, otlp) as exporter, display(plain) as shown:
        watch = Watch(shown, resume, stopped, exporter.follow)
        try:
            outcome = bench.run(wish, out, watch, resume=resume, ray=ray)
        except KeyboardInterrupt:
            raise _interrupted(watch.folder) from None
    page = None if no_report else draw(outcome.folder)
    if json:
        say_json({"folder": str(outcome.folder)} | msgspec.to_builtins(outcome.result))
    else:
        say(summary(outcome.result, str(outcome.folder), page="" if page is None else str(page)))
    return outcome.result.exit_code


def _exporter(port: int | None, host: str, otlp: bool) -> Attached:
    attached = Attached(port, host, otlp)
    if attached.url:
        note(f"metrics on {attached.url}")
    return attached


def _plan_of(resume: Path, plan: Path | None, overrides: Overrides) -> Plan:
    if plan is not None or overrides.given():
        extra = str(plan) if plan is not None else "--" + next(iter(overrides.given())).replace("_", "-")
        raise PlanError("--resume", f"stands beside {extra}", "a run goes on with the plan that it began with",
                        f"leave {extra} out, or start a new run")  # fmt: skip
    wish = planfile.read(resume / "plan.toml")
    planfile.check_surroundings(wish, str(resume / "plan.toml"))
    return wish


@contextmanager
def stops() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM as KeyboardInterrupt, and remembered: yields whether one has come.

    The exception alone is not enough. Python raises it wherever it happens to be, and in a destructor it is printed and forgotten: a
    run went on for its full length after a SIGTERM that met the collection of preflight's event loop.
    """
    came: list[int] = []

    def stop(number: int, _frame: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Watch:
    """Hands each Progress on, remembers the run folder, which bench announces once it exists, and ends the run when told to."""

    def __init__(
        self,
        shown: Display,
        folder: Path | None,
        stopped: Callable[[], bool] = lambda: False,
        begun: Callable[[Path], None] = lambda _folder: None,
    ) -> None:
        self.folder = folder
        self._shown = shown
        self._stopped = stopped
        self._begun = begun

    def __call__(self, progress: Progress) -> None:
        if self._stopped():
            raise KeyboardInterrupt
        if progress.message.startswith(_FOLDER):
            self.folder = Path(progress.message.removeprefix(_FOLDER))
            self._begun(self.folder)
        self._shown(progress)


def _interrupted(folder: Path | None) -> Interrupted:
    if folder is None:
        return Interrupted("interrupted", "before the first phase", "", "nothing was measured")
    return Interrupted(
        "interrupted",
        f"the run so far is in {folder}",
        "",
        f"openagentperf run --resume {shlex.quote(str(folder))} goes on",
    )

"""`openagentperf`: the commands, and how each way of ending becomes a message and an exit status (docs/cli.md#exit-codes)."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from openagentperf import __version__
from openagentperf.cli import (
    bundle,
    catalog,
    compare,
    corpus,
    dashboard,
    leaderboard,
    power,
    preflight,
    record,
    report,
    run,
    score,
    selfcheck,
    simulate,
    target,
    watch,
    whatif,
)
from openagentperf.cli.output import error_object, note, say, say_json
from openagentperf.cli.run import Interrupted
from openagentperf.errors import OpenAgentPerfError, UsageError

_Misused: type[Exception] = typer.BadParameter.__bases__[0]
"""The parser's own usage error; typer re-exports only its child."""


def _version(wanted: bool) -> None:
    if wanted:
        say(f"openagentperf {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="openagentperf", add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="How many coding agents can this inference system serve at once while its service levels hold?",
)  # fmt: skip


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("run")(run.run)
app.command("score")(score.score)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("bundle")(bundle.bundle)
app.command("verify")(bundle.verify)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("watch")(watch.watch)
app.command("dashboard")(dashboard.dashboard)
app.command("preflight")(preflight.preflight)
app.command("record")(record.record)
app.command("target")(target.target)
app.command("simulate")(simulate.simulate)
app.command("whatif")(whatif.whatif)
app.command("selfcheck")(selfcheck.check)
app.command("schema")(score.schema)
app.add_typer(catalog.app, name="catalog")
app.add_typer(corpus.app, name="corpus")
app.add_typer(power.app, name="power")


def main(arguments: Sequence[str]) -> int:
    """Carry out one command line; the exit status. Never raises, whatever went wrong."""
    json = "--json" in arguments
    try:
        status = typer.main.get_command(app).main(list(arguments), prog_name="openagentperf", standalone_mode=False)
    except OpenAgentPerfError as error:
        return _report(error, json)
    except _Misused as error:
        context = getattr(error, "ctx", None)
        command = "openagentperf" if context is None else context.command_path
        return _report(UsageError(command, _text(error), "", f"{command} --help lists what there is"), json)
    except typer.Abort:  # Ctrl-C outside of a run's phases
        return _report(Interrupted("interrupted", "before anything was measured"), json)
    except Exception as error:  # noqa: BLE001 - the last net: a person gets a sentence, the traceback goes to a file
        return _report(_unforeseen(error), json)
    return status if isinstance(status, int) else 0


def entry() -> None:
    """The console script."""
    status = 1
    # What ends a container, a CI job or a batch slot: as orderly as Ctrl-C, so that the ledger knows of it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone (`| head`): nothing to say to it, and the interpreter's own flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def _report(error: OpenAgentPerfError, json: bool) -> int:
    note(error.sentence() if isinstance(error, Interrupted) else f"error: {error.sentence()}")
    if json:
        say_json(error_object(error))
    return error.exit_code


def _text(error: Exception) -> str:
    return str(getattr(error, "format_message", error.__str__)()).rstrip(".")


def _unforeseen(error: Exception) -> OpenAgentPerfError:
    text = "".join(traceback.format_exception(error))
    kept = "its traceback, which could not be written to a file"
    with (
        suppress(OSError),
        tempfile.NamedTemporaryFile("w", prefix="openagentperf-", suffix=".traceback", delete=False) as file,
    ):
        file.write(text)
        kept = file.name
    where = traceback.extract_tb(error.__traceback__)[-1]
    return OpenAgentPerfError(
        f"{Path(where.filename).name}:{where.lineno}", f"{type(error).__name__}: {error}", "which nobody foresaw",
        f"please report it with {kept}",
    )  # fmt: skip

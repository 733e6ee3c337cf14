"""`openagentperf record`: write down what an agent and an endpoint say to each other, as a set to be replayed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import typer

from openagentperf.cli.options import Json
from openagentperf.cli.output import note, say, say_json
from openagentperf.cli.setnotes import columns, note_next, note_skipped, noted_lines
from openagentperf.corpus.formats import capture
from openagentperf.corpusjobs.imports import ImportReport, import_paths
from openagentperf.corpusjobs.store import SET_NAME
from openagentperf.errors import CorpusError, UsageError
from openagentperf.listening import is_loopback
from openagentperf.recorder import job
from openagentperf.recorder.job import Recorded, Wish
from openagentperf.recorder.writer import CAPTURE_NAME
from openagentperf.scrubfile import default_rules, load_rules

DEFAULT_LISTEN = "127.0.0.1:8377"


def record(
    upstream: Annotated[
        str | None, typer.Option(metavar="URL", help="Base URL of the endpoint that answers, with or without /v1.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the recording; made where it is not there.")] = None,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the agents connect; port 0 takes a free one.")] = DEFAULT_LISTEN,
    format: Annotated[
        Literal["auto", "chat", "responses", "messages"],
        typer.Option(help="API that every POST speaks. auto: told by its path."),
    ] = "auto",
    scrub_rules: Annotated[
        Path | None, typer.Option(metavar="FILE", help="More rules for what is taken out before it is written (TOML).")
    ] = None,
    no_scrub: Annotated[bool, typer.Option("--no-scrub", help="Write everything as it is, keys and addresses too.")] = False,
    ca_file: Annotated[str, typer.Option(metavar="FILE", help="PEM file of a private certificate authority.")] = "",
    finish: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Record nothing: make the set of a recording that was killed.")
    ] = None,
    json: Json = False,
) -> int:  # fmt: skip
    """Record real sessions: a proxy between any agent and any endpoint, until Ctrl-C.

    Forwards everything at once and unchanged; writes requests of the OpenAI chat, OpenAI Responses and Anthropic Messages APIs as
    trajectories with the tools' true times.
    """
    if finish is not None:
        if upstream is not None or out is not None:
            raise UsageError("--finish", f"stands beside {'--upstream' if upstream is not None else '--out'}",
                             "it makes the set of a recording that has ended", "give the folder to --finish alone")  # fmt: skip
        made = _made(finish)
        if json:
            say_json(made)
        else:
            _say_made(made, finish)
        return 0
    if upstream is None or out is None:
        missing = "--upstream" if upstream is None else "--out"
        raise UsageError("openagentperf record", f"has no {missing}", "an endpoint and a folder are needed",
                         "openagentperf record --upstream https://api.openai.com/v1 --out my-sessions")  # fmt: skip
    if no_scrub and scrub_rules is not None:
        raise UsageError("--no-scrub", "stands beside --scrub-rules", "", "leave one of them out")
    host, port = _address(listen)
    wish = Wish(
        upstream=upstream,
        out=out,
        host=host,
        port=port,
        dialect=None if format == "auto" else format,
        rules=None if no_scrub else load_rules(scrub_rules) if scrub_rules is not None else default_rules(),
        ca_file=ca_file,
    )
    if no_scrub:
        note(
            "warning: nothing is scrubbed: keys, tokens, names and addresses that the agent sends will stand in the recording"
        )
    if not is_loopback(host):
        note(
            f"warning: {host} can be reached from other machines, without TLS: whoever sees the traffic sees the agents' keys"
        )
    if _unfinished(out):
        with suppress(
            CorpusError
        ):  # a log without an answered request stays what it is, and this recording goes on with it
            _made(out)
            note(f"{out}: the recording before ended without its set, which is made now")
    recorded, broken_off = job.record(wish, lambda line: note(_with_advice(line)))
    try:
        made = _made(out)
    except CorpusError as error:
        raise broken_off or error from None
    if broken_off is not None:
        note_next(out)
        raise broken_off
    if json:
        say_json({"recorded": recorded, "set": made})
    else:
        _say_recorded(recorded)
        _say_made(made, out)
    return 0


def _made(folder: Path) -> ImportReport:
    """The set, of the whole log. The log stays: made again it gives the same set, and a later version may read more out of it."""
    return import_paths([folder / CAPTURE_NAME], folder, capture.FORMAT)


def _unfinished(folder: Path) -> bool:
    """Whether a recording ended there without its set: the recorder was killed."""
    log, made = folder / CAPTURE_NAME, folder / SET_NAME
    if not log.is_file():
        return False
    return not made.is_file() or made.stat().st_mtime_ns < log.stat().st_mtime_ns


def _with_advice(line: str) -> str:
    """The first line, and what to tell the agent."""
    if not line.startswith("listening on "):
        return line
    url = line.removeprefix("listening on ")
    return f"{line}\n  OPENAI_BASE_URL={url}/v1\n  ANTHROPIC_BASE_URL={url}\n  Ctrl-C ends the recording"


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise UsageError("--listen", f"is {listen!r}", "HOST:PORT was needed", f"write it like {DEFAULT_LISTEN}")
    return host.strip("[]"), int(port)


def _say_recorded(recorded: Recorded) -> None:
    say(f"exchanges {recorded.exchanges:,} recorded, {recorded.passed:,} other requests passed through")
    for why, count in recorded.not_recorded.items():
        say(f"  not recorded: {count:,} ({why})")
    taken = ", ".join(f"{name} {count:,}" for name, count in sorted(recorded.scrubbed.items()))
    say(f"scrubbed, different values: {taken or 'none'}")


def _say_made(made: ImportReport, folder: Path) -> None:
    say(f"trajectories {made.trajectories:,}, turns {made.turns:,}, sub-agents {made.branches:,}")
    say(f"tokens {made.input_tokens:,} in, {made.output_tokens:,} out (sums over all turns)")
    if lines := noted_lines(made.noted, columns()):
        say("\n".join(lines))
    note_skipped(made.skipped)
    note_next(folder)

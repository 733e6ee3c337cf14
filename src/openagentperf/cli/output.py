"""What goes where: the answer to stdout, everything about the way to it to stderr.

With `--json` stdout carries exactly one JSON object, whatever happens.
"""

from __future__ import annotations

import sys

import msgspec

from openagentperf.errors import OpenAgentPerfError


def printable(text: str) -> str:
    """Without control codes (line ends stay): parts of many messages come from the server, and a terminal obeys what it is sent."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def say(text: str) -> None:
    """A line of the answer, to stdout."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """A line about the way to the answer, to stderr."""
    sys.stderr.write(printable(text) + "\n")


def say_json(value: object) -> None:
    """The one JSON object of `--json`."""
    say(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def error_object(error: OpenAgentPerfError) -> dict[str, object]:
    """What `--json` prints for an error: the parts of its sentence, and the exit status."""
    parts = {"kind": type(error).__name__, "where": error.where, "found": error.found}
    return {"error": parts | {"needed": error.needed, "fix": error.fix}, "exit_code": error.exit_code}

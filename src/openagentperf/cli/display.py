"""What a run looks like while it goes on: a live block on a terminal, plain lines anywhere else. All of it on stderr.

`frame` and `phase_line` are pure functions of one Progress; the two displays only decide when to show them.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from openagentperf.cli.output import printable
from openagentperf.records.progress import Progress

WIDTH = 80
QUIET_S = 10.0
"""A plain display is silent for at least this long within a phase."""

_STAGES = {"ramp": "ramping up", "settle": "settling", "measure": "measuring", "drain": "draining", "judge": "judging"}


class Display(Protocol):
    """Shown between enter and exit; told of each Progress."""

    def __enter__(self) -> Display: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def __call__(self, progress: Progress) -> None: ...


def display(plain: bool, stream: TextIO | None = None) -> Display:
    """The live block where `stream` (stderr) is a terminal that may be painted on, plain lines else."""
    stream = sys.stderr if stream is None else stream
    dumb = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return PlainDisplay(stream) if plain or dumb or not stream.isatty() else LiveDisplay(stream)


class LiveDisplay:
    """A block that is repainted in place and gone when the run ends."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveDisplay:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def __call__(self, progress: Progress) -> None:
        if progress.warning:
            self._console.print(Text(printable(f"warning: {progress.warning}")))
        lines = frame(progress, min(self._console.width, 120))
        self._live.update(Text("\n").join([Text(lines[0], style="bold"), *map(Text, lines[1:])]))


class PlainDisplay:
    """One line at the end of each phase, at most one in ten seconds between, no control codes."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._said_s = float("-inf")
        self._last: Progress | None = None
        self._ended = -1

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def __call__(self, progress: Progress) -> None:
        last, self._last = self._last, progress
        if progress.warning:
            self._say(f"warning: {progress.warning}")
        if not progress.kind:  # of no phase
            if progress.message and (last is None or progress.message != last.message):
                self._say(progress.message)
        elif progress.stage == "judge":
            if progress.phase != self._ended:
                self._ended = progress.phase
                error = [f"last error: {progress.last_error}"] if progress.last_error else []
                self._say("; ".join([phase_line(progress), *progress.brackets, *error]))
        elif self._clock() - self._said_s >= QUIET_S:
            left = f", ~{_span(progress.run_left_s)} left" if progress.run_left_s is not None else ""
            in_flight = f", {progress.in_flight} in flight" if progress.in_flight is not None else ""
            self._say(f"{phase_line(progress)}{in_flight}, {_STAGES[progress.stage]}{left}")

    def _say(self, line: str) -> None:
        self._said_s = self._clock()
        text = printable(line)
        if self._stream.isatty():  # a log keeps one line for each thing said, which `grep` and `tail` can use
            width = min(shutil.get_terminal_size((WIDTH, 24)).columns, 120)
            text = textwrap.fill(text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
        self._stream.write(text + "\n")
        self._stream.flush()


def frame(p: Progress, width: int = WIDTH) -> list[str]:
    """The block as lines, none longer than `width`: stage, load, figures, one line a tier, the last error."""
    if p.kind == "":
        return _fit([f"{p.stage}  {p.message}".rstrip()], width)
    times = [f"{_span(p.elapsed_s)} gone"]
    if p.phase_left_s is not None:
        times.append(f"phase {_span(p.phase_left_s)} left")
    if p.run_left_s is not None:
        times.append(f"run ~{_span(p.run_left_s)} left")
    active, measured = f"{p.active_agents}/{p.agents} active", f"{p.measured_turns}/{p.wanted_turns} measured"
    lines = [
        _columns(f"phase {p.phase}, {p.kind}: {_STAGES.get(p.stage, p.stage)}", ", ".join(times), width),
        f"  agents   {active:<22}turns     {measured:<20}errors {p.failed_turns}",
        f"  TTFT P95 {_figure(p.ttft_p95_s, 's'):<22}speed P25 {_figure(p.speed_p25, 'tok/s'):<20}in flight {_or_dash(p.in_flight)}",
    ]
    lines += [f"  {bracket}" for bracket in p.brackets]
    if p.last_error:
        lines.append(f"  last error: {p.last_error}")
    elif p.message:
        lines.append(f"  {p.message}")
    return _fit(lines, width)


def phase_line(p: Progress) -> str:
    """One phase in one line."""
    load = "1 agent" if p.agents == 1 else f"{p.agents} agents"
    return (
        f"phase {p.phase} {p.kind}: {load}, {p.measured_turns} turns, errors {p.failed_turns}, "
        f"TTFT P95 {_figure(p.ttft_p95_s, 's')}, speed P25 {_figure(p.speed_p25, 'tok/s')}"
    )


def _columns(left: str, right: str, width: int) -> str:
    return left + right.rjust(width - len(left)) if len(left) + len(right) < width else f"{left}  {right}"


def _figure(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def _span(seconds: float) -> str:
    """`75.4` is `1:15`, `4000` is `1:06:40`."""
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _fit(lines: list[str], width: int) -> list[str]:
    """Each line on one line: what does not fit in `width` is cut."""
    whole = [printable(line).replace("\n", " ") for line in lines]
    return [line if len(line) <= width else line[: width - 3] + "..." for line in whole]

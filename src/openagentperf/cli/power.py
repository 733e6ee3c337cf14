"""`openagentperf power`: look at the power meters before a run depends on them."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from openagentperf import systemfile
from openagentperf.cli.attach import attach
from openagentperf.cli.options import Json
from openagentperf.cli.output import printable, say, say_json
from openagentperf.errors import MeterError
from openagentperf.powerprobe import Device, Found, Missing, Probe
from openagentperf.powerprobe import probe as probe_meters
from openagentperf.system import System

WIDTH = 80

app = typer.Typer(
    name="power", no_args_is_help=False, rich_markup_mode=None, help="Power meters: what there is, and what it shows."
)


@app.callback()
def _power() -> None:
    pass


app.command("attach")(attach)


@app.command("probe")
def probe(
    system: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Try the meters of this system (or of a plan) too, against its inventory.")
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="S", min=1, max=3600, help="How long the meters are read.")] = 5.0,
    json: Json = False,
) -> int:  # fmt: skip
    """Find this machine's power meters, show what they read, and say what is missing and why."""
    declared = None if system is None else systemfile.load(system)
    if _paints() and not json:
        with Live(console=Console(stderr=True, highlight=False), refresh_per_second=4, transient=True) as live:
            found = probe_meters(declared, seconds, lambda now: live.update(Text(table(now))))
    else:
        found = probe_meters(declared, seconds)
    if json:
        say_json(found)
    else:
        say(table(found))
    return 0 if _would_do(found, declared) else MeterError.exit_code


def _would_do(found: Probe, declared: System | None) -> bool:
    """Whether a run would have power: from every meter of its system, as declared; without a system, whether anything reads."""
    reads = {meter.facts.name for meter in found.meters if meter.reads}
    wanted = {meter.name for meter in declared.meters} if declared is not None else set()
    return bool(reads) and wanted <= reads and not found.inventory


def table(found: Probe, width: int = WIDTH) -> str:
    """All that was found, as text: no colours and no control codes, since a log has neither."""
    count = len(found.meters)
    lines = ["No power meter can be read"]
    if count:
        lines = [f"{count} power meter{'' if count == 1 else 's'} can be read, for {found.seconds:.1f} s"]
    for meter in found.meters:
        lines += ["", *_meter(meter, width)]
    if found.inventory:
        lines += ["", "Against the declared system"]
        lines += [
            line for fault in found.inventory for line in _wrap(f"{fault.code}: {fault.why}", width, "  ", "    ")
        ]
    if found.missing:
        lines += ["", "Missing"]
        lines += [line for one in found.missing for line in _missing(one, width)]
    return printable("\n".join(lines))


def _meter(meter: Found, width: int) -> Iterator[str]:
    facts = meter.facts
    known = [device.mean_w for device in meter.devices if device.mean_w is not None]
    together = f", {sum(known):,.1f} W together" if len(known) == len(meter.devices) else ""
    count = f"{len(meter.devices)} device{'' if len(meter.devices) == 1 else 's'}{together}"
    yield from _wrap(f"{facts.name}: {facts.boundary}, {facts.basis}; {count}", width, "", "  ")
    yield from _wrap(f"{facts.source}; polled every {facts.period_s:g} s", width, "  ", "    ")
    yield f"  {'device':<40}  {'quantity':<8} {'value':>15} {'updates/s':>10}"
    for device in meter.devices:
        yield from _device(device, width)
    for note in facts.notes:
        yield from _wrap(f"note: {note}", width, "  ", "    ")


def _device(device: Device, width: int) -> Iterator[str]:
    name = device.facts.device
    if len(name) > 40 or not device.sensors:
        yield f"  {name}"
        name = ""
    for sensor in device.sensors:
        unit = "J" if sensor.quantity == "energy" else "W"
        value = "-" if sensor.value is None else f"{sensor.value:,.1f} {unit}"
        updates = "-" if sensor.updates_per_s is None else f"{sensor.updates_per_s:.1f}"
        yield f"  {name:<40}  {sensor.quantity:<8} {value:>15} {updates:>10}"
        name = ""
    if about := "; ".join(_about(device)):
        yield from _wrap(about, width, "    ", "    ")
    for warning in device.warnings:
        yield from _wrap(f"warning: {warning}", width, "    ", "      ")


def _about(device: Device) -> Iterator[str]:
    if device.facts.name:
        yield device.facts.name
    if device.apart is not None:
        yield f"counter and power {device.apart:.1%} apart"
    if device.power_cap_w is not None:
        yield f"cap {device.power_cap_w:,.0f} W"
    if device.clock_mhz is not None:
        yield f"{device.clock_mhz:,.0f} MHz"
    if device.throttle is not None:
        yield f"throttled: {', '.join(device.throttle) or 'no'}"


def _missing(missing: Missing, width: int) -> list[str]:
    error = MeterError(missing.name, missing.found, missing.needed, missing.fix)
    return _wrap(error.sentence(), width, "  ", "    ")


def _paints() -> bool:
    """Whether stderr is a terminal that may be painted on."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _wrap(text: str, width: int, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )

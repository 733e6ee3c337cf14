"""The options that describe a run, defined once: `run` and `preflight` take all of them, `takes_overrides` hands them over."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from openagentperf.plan import Track
from openagentperf.planfile import Overrides

PlanPath: TypeAlias = Annotated[
    Path | None, typer.Argument(metavar="PLAN", help="A plan file (docs/plan.md); options win over it.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; progress on stderr.")]
RunFolder: TypeAlias = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Metrics: TypeAlias = Annotated[
    int | None,
    typer.Option("--metrics-port", metavar="N", min=0, max=65535, help="Live figures as a Prometheus page on this port; 0: a free one."),
]  # fmt: skip
MetricsHost: TypeAlias = Annotated[
    str, typer.Option("--metrics-host", metavar="HOST", help="Where that page listens; anybody who reaches it can read it.")
]  # fmt: skip
Otlp: TypeAlias = Annotated[
    bool, typer.Option("--otlp", help="Push live figures by OTLP over HTTP, as the OTEL_* variables say (docs/dashboard.md).")
]  # fmt: skip
Tiers: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME|PATH", help="Service levels: a preset, or a TOML file of your own."),
]  # fmt: skip


def _option(kind: object, metavar: str | None, help_text: str) -> object:
    return Annotated[kind, typer.Option(metavar=metavar, help=help_text)]


_text, _number, _amount = str | None, int | None, float | None

OVERRIDES: dict[str, object] = {
    "endpoint": _option(list[str] | None, "URL", "Base URL with /v1; repeated: an agent keeps to one. Without: the embedded target."),
    "model": _option(_text, "NAME", "Served model name. Default: the only one that is served."),
    "api_key_env": _option(_text, "VAR", "Environment variable that holds the API key."),
    "ca_file": _option(_text, "FILE", "PEM file of a private certificate authority."),
    "system": _option(_text, "NAME|FILE", "Inventory, ratings, prices and meters: a catalogue entry, or a TOML file (docs/power.md)."),
    "accelerators": _option(_number, "N", "Declared accelerators, spares included: agents are divided by it."),
    "accelerator": _option(_text, "NAME", "What the accelerators are, for the record."),
    "corpus": _option(_text, "PATH", "A profile (demo, agentperf, ...), a folder of `corpus import`, a compiled corpus, or recordings."),
    "track": _option(Track | None, None, "natural: the model stops by itself. exact: ignore_eos, the recorded length. Never mixed."),
    "max_context": _option(_number, "TOKENS", "Cut a trajectory before its first turn that is longer than this."),
    "max_tool_delay": _option(_amount, "SECONDS", "Cut longer tool delays to this, and say how many. Default: as recorded."),
    "allow_rewritten_history": _option(bool | None, None, "Take recordings that rewrite their history undeclared; the card marks them."),
    "seed": _option(_number, "N", "Seeds order, starting points and the delays that a recording lacks."),
    "rigor": _option(_text, "quick|standard", "Minutes and preliminary, or hours and certified."),
    "tiers": Tiers,
    "start": _option(_number, "N", "First number of agents to try."),
    "limit": _option(_number, "N", "Never more agents than this."),
    "workers": _option(_number, "N", "Load processes on this host; with --ray on all load hosts."),
}  # fmt: skip
"""One option for each field of planfile.Overrides, in the order of the help page."""


def takes_overrides(command: Callable[..., int]) -> Callable[..., int]:
    """Replace the parameter `overrides` of a command by the options above.

    typer reads a command's signature; sixteen parameters written out twice drift apart.
    """
    own = list(inspect.signature(command, eval_str=True).parameters.values())
    at = next(i for i, parameter in enumerate(own) if parameter.name == "overrides")
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in OVERRIDES.items()
    ]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own[:at] + shared + own[at + 1 :]]

    def with_options(**given: Any) -> int:
        values = {name: given.pop(name) for name in OVERRIDES}
        return command(overrides=Overrides(**values), **given)

    with_options.__doc__ = command.__doc__
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_options

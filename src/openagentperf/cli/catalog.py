"""`openagentperf catalog`: what is known about hardware, models and systems, with its sources, and what a deployment becomes in numbers."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from openagentperf.cli.options import Json
from openagentperf.cli.output import printable, say, say_json
from openagentperf.errors import UsageError
from openagentperf.sim.catalog import KINDS, Catalog, cells
from openagentperf.sim.cells import Cell
from openagentperf.sim.deployment import Compiled, Deployment, compile_cluster
from openagentperf.tomlfile import one_of
from openagentperf.units import significant

WIDTH = 80
ENTRIES = KINDS[:-1]
"""Kinds that have entries of their own names; deployments stand under their system."""

app = typer.Typer(name="catalog", no_args_is_help=True, rich_markup_mode=None,
                  help="Accelerators, models and systems that can be simulated: every number with its source.")  # fmt: skip
Files: TypeAlias = Annotated[
    list[Path] | None, typer.Option("--catalog", metavar="FILE", help="A file of your own; its cells win. Repeatable.")
]


@app.callback()
def _catalog() -> None:
    pass


@app.command("list")
def list_(catalog: Files = None, json: Json = False) -> int:
    """Names of all entries, and how many of their numbers are known."""
    known = Catalog.load(catalog or ())
    rows = [_row(known, kind, name) for kind in ENTRIES for name in known.names(kind)]
    if json:
        say_json({"digest": known.digest, "entries": rows})
        return 0
    for kind in ENTRIES:
        say(f"{kind.upper()}S")
        for row in rows:
            if row["kind"] == kind:
                marks = row["marks"]
                assert isinstance(marks, dict)
                unknown = f", {marks['unknown']} unknown" if "unknown" in marks else ""
                say(f"  {row['name']:<20} {_fit(str(row['title']), 34):<34} {sum(marks.values()):>3} numbers{unknown}")
    return 0


@app.command("show")
def show(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="An entry; without one, the list of all.")] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="With a system: what a deployment of this model becomes in numbers.")
    ] = None,
    deployment: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="One that the catalogue has, or a TOML file; default: `default`.")
    ] = "default",
    catalog: Files = None,
    json: Json = False,
) -> int:  # fmt: skip
    """Every number of an entry: value, unit, mark, uncertainty and source. With --model: steps, KV pools and watts of a deployment."""
    if name is None:
        return list_(catalog, json)
    known = Catalog.load(catalog or ())
    if model is not None:
        found = known.deployment(name, model, deployment)
        compiled = compile_cluster(known.system(name), known.model(model), found, name=model)
        say_json(compiled) if json else say(printable("\n".join(_compiled(compiled, found))))
        return 0
    kinds = [kind for kind in ENTRIES if name in known.names(kind)]
    if not kinds:
        everything = sorted({other for kind in ENTRIES for other in known.names(kind)})
        raise UsageError("catalog show", f"no entry `{name}`", "", one_of(name, everything))
    if json:
        say_json([_object(known, kind, name) for kind in kinds])
    else:
        say(printable("\n".join(line for kind in kinds for line in _entry(known, kind, name))))
    return 0


def _get(known: Catalog, kind: str, name: str) -> object:
    return getattr(known, kind)(name)


def _row(known: Catalog, kind: str, name: str) -> dict[str, object]:
    entry = _get(known, kind, name)
    marks = Counter(cell.mark for _, _, cell in _own(entry, kind, name))
    return {"kind": kind, "name": name, "title": getattr(entry, "title", ""), "marks": dict(sorted(marks.items()))}


def _own(entry: object, kind: str, name: str) -> Iterator[tuple[str, str, Cell]]:
    """Cells of the entry itself: an accelerator in a system and a generation in an accelerator are entries of their own."""
    inner = (f"{kind}.{name}.accelerator", f"{kind}.{name}.generation")
    return ((at, key, cell) for at, key, cell in cells(entry, f"{kind}.{name}") if not at.startswith(inner))


def _object(known: Catalog, kind: str, name: str) -> dict[str, object]:
    entry = _get(known, kind, name)
    rows = {f"{at}.{key}": cell for at, key, cell in _own(entry, kind, name)}
    return {
        "kind": kind,
        "name": name,
        "title": getattr(entry, "title", ""),
        "note": getattr(entry, "note", ""),
        "cells": rows,
    }


def _entry(known: Catalog, kind: str, name: str) -> Iterator[str]:
    entry = _get(known, kind, name)
    yield f"{getattr(entry, 'title', name)}  ({kind}.{name})"
    yield from _wrapped(getattr(entry, "note", ""), "  ")
    if kind == "system":
        yield f"  accelerator: {getattr(entry, 'accelerator_name', '')}"
        for model in known.names("model"):
            named = known.deployments(name, model)
            if len(named) > 1 or known.written(name, model):
                yield from _wrapped(f"disclosed with {model}: {', '.join(named)}", "  ")
    if kind == "accelerator" and getattr(entry, "generation", None) is None:
        yield "  no generation: nothing is known of its efficiency, so it is not simulated"
    table = ""
    for at, key, cell in _own(entry, kind, name):
        if at != table:
            yield f"[{at}]"
            table = at
        yield from _cell(key, cell)
    yield ""


def _cell(key: str, cell: Cell) -> Iterator[str]:
    value = "unknown" if cell.value is None else f"{_number(cell.value)} {cell.unit}"
    sure = f" +-{cell.uncertainty:.0%}" if cell.uncertainty else ""
    yield f"  {key:<20} {value:<32} {cell.mark}{sure}"
    source = f"{cell.source} ({cell.date})" if cell.source else ""
    yield from _wrapped("; ".join(part for part in (source, cell.note) if part), "      ")


def _compiled(compiled: Compiled, deployment: Deployment) -> Iterator[str]:
    spec = compiled.spec
    yield from _wrapped(spec.name, "")
    yield from _wrapped(f"source: {deployment.source}", "  ")
    for worker in spec.workers:
        costs, batch = worker.costs, worker.max_batch
        yield f"{worker.role}: {worker.workers} workers of {worker.accelerators_per_worker:g} accelerator(s)"
        yield f"  KV pool            {worker.kv_pool_bytes / 1e9:,.2f} GB a worker"
        for group in worker.kv:
            per = f"{group.bytes_per_token:,.0f} B a token" + (
                f", last {group.window_tokens} tokens" if group.window_tokens else ""
            )
            yield f"    {group.name:<16} {per}"
        if worker.role != "prefill":
            steps = ", ".join(
                f"{b}: {costs.step_s[b] * 1e3:.1f}" for b in sorted({1, max(1, batch // 8), max(1, batch // 2), batch})
            )
            yield f"  decode step, ms    {steps} (by batch)"
            yield f"                     + {costs.per_kv_token_s * 1e9:.2f} ns a token of context"
            yield f"  tokens a step      {costs.tokens_per_step:g}"
        if worker.role != "decode":
            at = [1 / (costs.prefill_token_s + costs.prefill_context_s * c) for c in (0, 27_000, 131_072)]
            yield f"  prefill, tokens/s  {at[0]:,.0f} at 0, {at[1]:,.0f} at 27,000, {at[2]:,.0f} at 131,072 of context"
            yield f"                     + {costs.chunk_start_s * 1e3:.0f} ms a chunk"
        watts = worker.power
        yield f"  watts              {watts.idle_w:.0f} idle, {watts.decode_w:.0f} decode, {watts.prefill_w:.0f} prefill"
    ratios = compiled.ratios
    wider = [f"{name} x {value:.2f}" for name, value in (("node", ratios.node), ("rack", ratios.rack)) if value]
    if ratios.provisioned_w:
        wider.append(f"provisioned {ratios.provisioned_w:,.0f} W an accelerator")
    yield from _wrapped(f"wider boundaries: {', '.join(wider) or 'not known'} (+-{ratios.uncertainty:.0%})", "")
    marks = Counter(constant.mark for constant in compiled.constants)
    yield from _wrapped("numbers used: " + ", ".join(f"{count} {mark}" for mark, count in sorted(marks.items())), "")
    for constant in compiled.constants:
        if constant.mark == "assumed":
            yield from _wrapped(
                f"assumed: {constant.name} = {_number(constant.value)} {constant.unit} (+-{constant.uncertainty:.0%})",
                "  ",
            )
    for note in compiled.notes:
        yield from _wrapped(f"note: {note}", "  ")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False)


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _number(value: float) -> str:
    """Whole ones in full, as far as their digits mean something."""
    if abs(value) >= 1e15:
        return f"{value:.4g}"
    return f"{value:,.0f}" if value == int(value) else significant(value, 4)

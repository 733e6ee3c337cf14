"""`openagentperf whatif`: many simulated clusters side by side, to see what a decision would change."""

from __future__ import annotations

import csv
import io
import os
import textwrap
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from msgspec.structs import replace

from openagentperf.cli.options import Json, Tiers
from openagentperf.cli.output import note, printable, say, say_json
from openagentperf.cli.simulate import Catalogs, Deployed, Limit, MaxContext, Seed, interruptible, wished
from openagentperf.cli.simulated import resource_words
from openagentperf.errors import UsageError
from openagentperf.plan import Plan
from openagentperf.planfile import Overrides
from openagentperf.rundir import write
from openagentperf.simulation import sweep
from openagentperf.simulation.sweep import Done, Row
from openagentperf.simulation.tasks import tasks_of
from openagentperf.simulation.variants import Axes
from openagentperf.units import significant

WIDTH = 80


def whatif(
    system: Annotated[str, typer.Option("--system", metavar="NAME,...", help="Systems of the catalogue.")],
    model: Annotated[
        str,
        typer.Option(
            "--model", metavar="NAME,...", help="Models of the catalogue: sparse and dense ones side by side."
        ),
    ],
    *,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="P:D,...", help="Prefill:decode accelerators (24:8,16:16), or `aggregated`."),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout", metavar="L,...", help="tp8, dep4 (data and expert parallel), tp2dep4; decode=dep8 for one role."
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option("--context", metavar="TOKENS,...", help="Longest request, of the deployment and of the workload."),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(
            "--cache", metavar="on,off,host=GB", help="Prefix cache: as it is, none, or a host tier an accelerator."
        ),
    ] = None,
    draft: Annotated[
        str | None, typer.Option("--draft", metavar="N,...", help="Drafted tokens of speculative decoding; 0: off.")
    ] = None,
    batch: Annotated[
        str | None, typer.Option("--batch", metavar="N,...", help="Sequences that decode at once, a rank.")
    ] = None,
    first_token: Annotated[
        str | None,
        typer.Option(
            "--first-token", metavar="prefill,decode", help="Who streams it, where prefill and decode are split."
        ),
    ] = None,
    deployment: Deployed = None,
    catalog: Catalogs = None,
    tiers: Tiers = None,
    corpus: Annotated[
        str | None,
        typer.Option(
            "--corpus", metavar="PATH", help="What is replayed. Default: agentperf (`long` for contexts to 1M)."
        ),
    ] = None,
    max_context: MaxContext = None,
    seed: Seed = None,
    limit: Limit = None,
    jobs: Annotated[
        int, typer.Option("--jobs", metavar="N", min=1, help="Processes on this host. Default: one a core.")
    ] = os.cpu_count() or 1,
    ray: Annotated[
        str, typer.Option("--ray", metavar="ADDRESS", help="Run on this Ray cluster instead (the `ray` extra).")
    ] = "",
    out: Annotated[Path, typer.Option(metavar="RUNS_DIR", help="Where compiled corpora lie.")] = Path("runs"),
    csv_to: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="The rows as CSV, too.")] = None,
    json: Json = False,
) -> int:
    """Simulate every combination of the values given, and say what each could serve and what runs out first. Nothing is measured.

    Each number is found by search phases to 5 %, not certified: for differences. `openagentperf simulate` certifies one of them.
    """
    systems, models = _names("--system", system), _names("--model", model)
    named = {"system": systems[0], "model": models[0], "catalog": list(map(str, catalog or ()))}
    if deployment:
        named["deployment"] = deployment
    plan = wished(None, Overrides(tiers=tiers, corpus=corpus, max_context=max_context, seed=seed, limit=limit), named)
    axes = Axes(
        systems=systems,
        models=models,
        split=_names("--split", split),
        layout=_names("--layout", layout),
        context=_counts("--context", context, 1, "131072,1048576"),
        cache=_names("--cache", cache),
        draft=_counts("--draft", draft, 0, "0,3"),
        batch=_counts("--batch", batch, 1, "64,192"),
        first_token=_names("--first-token", first_token),
    )
    with interruptible():
        tasks, refused = tasks_of(plan, axes, out / "corpora")
        note(f"{len(tasks)} clusters to simulate, {len(refused)} refused")
        done = sweep.run_all([task for _, task in tasks], jobs, _told, ray)
    placed = {at: rows for (at, _), rows in zip(tasks, done, strict=True)} | {at: (row,) for at, row in refused}
    rows = [row for at in sorted(placed) for row in placed[at]]
    if csv_to is not None:
        write(csv_to, csv_bytes(rows))
    if json:
        say_json({"plan_digest": plan.digest, "simulated": True, "rows": [msgspec.to_builtins(row) for row in rows]})
    else:
        say(table(rows, plan))
    return 0


def _told(rows: Done) -> None:
    for row in rows:
        said = f"{_count(row)} agents" if row.agents is not None else row.why
        note("  ".join(part for part in (row.system, row.model, ", ".join(row.changes), row.tier, said) if part))


def _names(option: str, text: str | None) -> tuple[str, ...]:
    names = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    if text is not None and not names:
        raise UsageError(option, "names nothing", "values with commas between them were needed", "give one or more")
    return names


def _counts(option: str, text: str | None, least: int, such_as: str) -> tuple[int, ...]:
    names = _names(option, text)
    if wrong := [name for name in names if not name.isdecimal() or int(name) < least]:
        found, needed = f"`{wrong[0]}` is no number that it could be", f"whole numbers, {least} or more, were needed"
        raise UsageError(option, found, needed, f"write {such_as}")
    return tuple(map(int, names))


# -- what is said ------------------------------------------------------------------------------------------------------------


def table(rows: list[Row], plan: Plan) -> str:
    """At most 80 columns: a line a row, then why each binds, and why there is no number where there is none."""
    labels = _labels(rows)
    name = min(34, max(7, *(len(label) for label in labels))) if rows else 7
    lines = [
        "SIMULATED: a model of each cluster, searched to 5 %; nothing was measured",
        "",
        f"{'':3}{'variant':<{name}}  {'tier':<7} {'agents':>7} {'/accel':>6} {'/MW':>7} {'hit':>5}  binds",
    ]
    for number, (row, label) in enumerate(zip(rows, labels, strict=True), 1):
        binds = resource_words(row.binds) if row.binds else "-"
        figures = f"{_count(row):>7} {_short(row.agents_per_accelerator):>6} {_whole(row.agents_per_mw):>7} {_share(row.hit_rate):>5}"
        line = f"{number:>2} {label[:name]:<{name}}  {row.tier[:7]:<7} {figures}  {_SHORT.get(row.binds, binds)}"
        lines.append(line[:WIDTH])
    lines += ["", "/MW: accelerators only, modelled power; hit: prompt tokens found in the cache", ""]
    for number, row in enumerate(rows, 1):
        why = f"{resource_words(row.binds)}: {row.why}" if row.binds else f"refused: {row.why}"
        lines += _wrapped(f"{number:>2} {why}")
    lines.append(f"corpus {plan.workload.corpus}, tiers {plan.tiers.name}, seed {plan.seed}")
    return printable("\n".join(lines))


_SHORT = {
    "prefill": "prefill",
    "decode": "decode",
    "batch": "batch",
    "kv": "KV",
    "transfer": "transfer",
    "context": "context",
    "none": "-",
    "": "refused",
}


def _labels(rows: list[Row]) -> list[str]:
    """What differs: systems and models are left out where all are the same."""
    many = {field: len({getattr(row, field) for row in rows}) > 1 for field in ("system", "model")}
    labels = []
    for row in rows:
        parts = [getattr(row, field) for field in ("system", "model") if many[field]]
        labels.append(", ".join([*parts, *row.changes]) or f"{row.system}, {row.model}")
    return labels


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="   ", break_long_words=False, break_on_hyphens=False)


def csv_bytes(rows: list[Row]) -> bytes:
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\n")
    names = Row.__struct_fields__
    writer.writerow(("simulated", *names))
    for row in rows:
        flat = replace(row, changes=())
        cells = {name: getattr(flat, name) for name in names} | {"changes": "; ".join(row.changes)}
        writer.writerow(("simulated", *("" if cells[name] is None else cells[name] for name in names)))
    return page.getvalue().encode()


def _count(row: Row) -> str:
    return "-" if row.agents is None else f"{'>=' if row.at_least else ''}{row.agents:,}"


def _short(value: float | None) -> str:
    return "-" if value is None else significant(value)


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"

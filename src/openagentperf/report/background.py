"""The parts of a report that say what was run: workload, server, environment, plan, every attempt, and how to derive it again."""

from __future__ import annotations

import shlex

import msgspec

from openagentperf.records.phase import Judged
from openagentperf.records.result import Result
from openagentperf.report import cardpage
from openagentperf.report.marked import Marked, number
from openagentperf.report.opened import Opened
from openagentperf.report.page import Cell, Section, Table

WORKLOAD, ENVIRONMENT, ATTEMPTS, AGAIN = "Workload", "Environment and plan", "Every attempt", "Derive it again"


def workload(run: Opened, marked: Marked | None) -> list[Section]:
    """The set's card, and the mix that was really run."""
    made = []
    if marked is not None:
        rows = tuple(
            (
                f"{what} tokens, mean",
                marked.cell(f"workmix.{what}_tokens_mean", number),
                marked.cell(f"workmix.set_{what}_tokens_mean", number),
            )
            for what in ("input", "output")
        )
        made.append(
            Section(
                title="The mix that was run",
                text="Certifying phases beside the whole set. Inputs by the corpus's own count in both; outputs as generated "
                "beside as recorded.",
                table=Table(head=("", "as run", "of the set"), rows=rows),
                group=WORKLOAD,
            )
        )
    if run.card is None:
        made.append(Section(title="Card", text="The card of the set is missing.", group=WORKLOAD))
        return made
    made.append(Section(title="The set", text=cardpage.lead(run.card), group=WORKLOAD))
    made += [
        msgspec.structs.replace(section, folded=section.table is not None)
        for section in cardpage.sections(run.card, WORKLOAD)
    ]
    return made


def environment(run: Opened) -> list[Section]:
    made = []
    facts = run.facts
    rows: list[tuple[str, str]] = []
    if facts is not None:
        context = f"{facts.server.context_tokens:,} tokens" if facts.server.context_tokens else "not said"
        rows += [
            ("target", facts.target), ("endpoint", facts.url), ("model", facts.server.model), ("context", context),
            ("reports cached tokens", "yes" if facts.server.reports_cached else "no"),
            ("server's prompt tokens / the corpus's", f"{facts.server.token_ratio:.3f}"),
        ]  # fmt: skip
    rows += [(f"load generator: {name}", _plain(value)) for name, value in run.environment.items()]
    if rows:
        table = Table(head=("", "value"), rows=tuple(rows), words=(1,))
        made.append(Section(title="Server and load generator", table=table, group=ENVIRONMENT))
    if run.meters:
        meters = tuple(
            (m.name, m.kind, m.boundary, m.basis, str(len(m.devices)), m.source, "; ".join(m.notes)) for m in run.meters
        )
        head = ("meter", "kind", "boundary", "basis", "devices", "source", "notes")
        table = Table(head=head, rows=meters, words=(1, 2, 3, 5, 6))
        made.append(Section(title="Power meters", table=table, group=ENVIRONMENT))
    if facts is not None and facts.checks:
        checks = tuple((c.name, c.status, c.found, c.fix) for c in facts.checks)
        table = Table(head=("check", "status", "found", "what to do"), rows=checks, words=(1, 2, 3))
        made.append(
            Section(
                title="Preflight", text="What was asked of the server before any load.", table=table, group=ENVIRONMENT
            )
        )
    if run.plan_text:
        made.append(
            Section(
                title="plan.toml", text="What was asked, every default spelled out.", code=run.plan_text, folded=True, group=ENVIRONMENT
            )
        )  # fmt: skip
    return made


def _plain(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def attempts(run: Opened, marked: Marked | None) -> list[Section]:
    """The ledger, line by line, and every figure of every judged phase."""
    made = []
    if run.ledger:
        rows = tuple(
            (
                str(line.index) if line.index >= 0 else "", line.event, f"{line.agents:,}" if line.agents else "",
                line.kind if line.index >= 0 else "", _verdicts(line.judged) if line.judged is not None else line.why,
            )
            for line in run.ledger
        )  # fmt: skip
        made.append(
            Section(
                title="Ledger",
                text="Every attempt in order, passes, fails, invalid and broken-off ones alike; none is ever removed.",
                table=Table(head=("phase", "event", "agents", "kind", "what came of it"), rows=rows, words=(1, 3, 4)),
                folded=True,
                group=ATTEMPTS,
            )
        )
    if marked is not None and run.phases:
        fields = [marked.row(f"phases[{k}]") for k in range(len(run.phases))]
        names = list(dict.fromkeys(name for row in fields for name, _ in row))
        figures = tuple(_in_order(dict(row), names) for row in fields)
        made.append(
            Section(
                title="Figures of every phase",
                text="As they stand in result.json, by the names that they have there.",
                table=Table(head=tuple(names), rows=figures),
                folded=True,
                group=ATTEMPTS,
            )
        )
    return made


def _in_order(row: dict[str, Cell], names: list[str]) -> tuple[Cell, ...]:
    return tuple(row.get(name, Cell(text="")) for name in names)


def _verdicts(judged: Judged) -> str:
    return "; ".join(f"{v.tier}: {v.verdict}" + (f" ({v.reasons[0]})" if v.reasons else "") for v in judged.verdicts)


def again(run: Opened, result: Result | None, marked: Marked | None) -> list[Section]:
    """Commands and digests by which another party comes to the same figures."""
    name = shlex.quote(run.folder.resolve().name)
    version = result.version if result is not None else run.environment.get("openagentperf", "")
    wanted = "openagentperf[report]" + (f"=={version}" if version else "")
    lines = [
        "# in the folder that holds the run folder",
        f"pip install {shlex.quote(wanted)}",
        f"openagentperf score {name}     # the result again from the rows: exit 0 where it is identical",
        f"openagentperf report {name}    # this page again: the same bytes from the same folder",
    ]
    if not run.finished:
        lines.append(f"openagentperf run --resume {name}")
    rows: list[tuple[str | Cell, ...]] = []
    if result is not None and marked is not None:
        rows += [
            ("openagentperf", result.version), ("plan digest", result.plan_digest), ("corpus digest", result.corpus_digest),
            ("sealed set", result.sealed_root or "none"), ("tiers", result.tiers), ("tiers digest", result.tiers_digest),
            ("exit code", marked.cell("exit_code", number)),
        ]  # fmt: skip
        if run.result_sha256:
            rows.append(("sha256 of result.json", run.result_sha256))
    digests = Table(head=("", "value"), rows=tuple(rows), words=(1,)) if rows else None
    return [Section(title="Commands", code="\n".join(lines), table=digests, group=AGAIN)]

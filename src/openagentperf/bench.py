"""The job: search <-> phase <-> score, from a plan to a run folder with a result.

    corpus -> endpoint (or the embedded node) -> preflight -> run folder -> [level -> phase -> tables -> verdict -> ledger]* -> result

Nothing is kept in memory that the folder does not hold: a run that was broken off goes on at its next phase by replaying its ledger
through the same pure search.
"""

from __future__ import annotations

import math
import os
import platform
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from openagentperf import __version__, planfile, preflight, rundir, tables, verify
from openagentperf.client.clock import now_ns
from openagentperf.client.connection import TRANSPORT_POLICY
from openagentperf.corpus.layout import Compiled
from openagentperf.corpus.nonce import phase_nonce
from openagentperf.corpusfile import open_corpus
from openagentperf.corpusjobs.prepare import Prepared, prepare
from openagentperf.errors import OpenAgentPerfError, PlanError, PreflightError, StorageError
from openagentperf.load.collect import Collector
from openagentperf.load.fleet import Fleet, Quota, start_barrier_ns
from openagentperf.load.protocol import Setup
from openagentperf.plan import Endpoint, Plan, TierSet
from openagentperf.records.phase import Judged, PhaseOrder
from openagentperf.records.preflight import Check, Report
from openagentperf.records.progress import Progress, Stage
from openagentperf.records.result import Result
from openagentperf.records.run import RunFacts
from openagentperf.records.standing import Standing
from openagentperf.rundir import LedgerLine
from openagentperf.search.step import Step, next_step, standings
from openagentperf.seeds import Stream, derive
from openagentperf.sim.spawn import spawned
from openagentperf.snapshot import snapshot
from openagentperf.units import NS_PER_S
from openagentperf.wire.chatrequest import fixed_head

__all__ = ["Check", "Outcome", "preflight_report", "run", "score"]

EMBEDDED_MODEL = "openagentperf-sim"
Observe = Callable[[Progress], None]


class Outcome(msgspec.Struct, frozen=True):
    """A finished run."""

    folder: Path
    result: Result


def run(plan: Plan, runs: Path, observe: Observe, *, resume: Path | None = None) -> Outcome:
    """Carry out a plan; `observe` hears about twice a second how it goes. Raises the errors of errors.py; what was measured stays."""
    with ExitStack() as stack:
        ready = _get_ready(plan, runs, observe, stack)
        if not ready.report.ok or ready.report.server is None:
            raise _preflight_error(ready.report, ready.endpoint.url)
        folder = resume or _new_folder(plan, runs)
        _write_opening(folder, plan, ready)
        observe(Progress(stage="preflight", message=f"run folder {folder}"))
        fleet = stack.enter_context(Fleet(_setup(plan, ready), folder))
        _Search(plan, folder, fleet, observe).go()
        result = verify.derive(folder)
        rundir.write(folder / "result.json", msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
        rundir.append_line(folder / "ledger.jsonl", LedgerLine(event="finished"))
        observe(Progress(stage="done", message=f"run folder {folder}"))
        return Outcome(folder=folder, result=result)


def score(folder: Path, tiers: TierSet | None = None) -> Result:
    """The result that a run folder's rows give; for other tiers than its own, where given."""
    return verify.derive(folder, tiers)


def preflight_report(plan: Plan, runs: Path = Path("runs")) -> list[Check]:
    """Every check of an endpoint, and no load."""
    with ExitStack() as stack:
        return list(_get_ready(plan, runs, lambda _: None, stack).report.checks)


# -- before the first phase --------------------------------------------------------------------------------------------------


class _Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What is at hand once the endpoint answers and the corpus is compiled."""

    prepared: Prepared
    corpus: Compiled
    endpoint: Endpoint
    headers: dict[str, str]
    report: Report


def _get_ready(plan: Plan, runs: Path, observe: Observe, stack: ExitStack) -> _Ready:
    observe(Progress(stage="preparing", message=f"corpus {plan.workload.corpus}"))
    prepared = prepare(plan.workload, plan.seed, runs / "corpora")
    corpus = open_corpus(prepared.path)
    endpoint = plan.endpoint
    if endpoint is None:
        url = stack.enter_context(spawned("openagentperf.sim.serve", "--model", EMBEDDED_MODEL))
        endpoint = Endpoint(url=url, model=EMBEDDED_MODEL)
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream", **endpoint.headers}
    if endpoint.api_key_env:
        key = os.environ.get(endpoint.api_key_env)
        if not key:
            raise PlanError(
                "endpoint.api_key_env", f"the variable {endpoint.api_key_env} is not set", "a key", "export it"
            )
        headers["Authorization"] = f"Bearer {key}"
    observe(Progress(stage="preflight", message=f"asking {endpoint.url}"))
    report = preflight.check(
        endpoint, headers, plan, corpus, _order(plan, index=-1, step=Step(agents=1, kind="search", why=""))
    )
    return _Ready(prepared=prepared, corpus=corpus, endpoint=endpoint, headers=headers, report=report)


def _preflight_error(report: Report, url: str) -> PreflightError:
    failed = [check for check in report.checks if not check.ok]
    first, more = failed[0], failed[1:]
    fix = "; ".join([first.fix, *(f"also {c.name}: {c.found} ({c.fix})" for c in more)])
    return PreflightError(f"preflight of {url}, {first.name}", first.found, f"needed: {first.needed}", fix)


def _new_folder(plan: Plan, runs: Path) -> Path:
    stem = time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + f"-{plan.digest[:8]}"
    with rundir.storage_errors(runs):
        for suffix in ("", *(f"-{k}" for k in range(2, 100))):
            folder = runs / (stem + suffix)
            with suppress(FileExistsError):
                folder.mkdir(parents=True)
                return folder
    raise StorageError(str(runs), f"holds a hundred runs named {stem}", "a new name", "wait a second")


def _write_opening(folder: Path, plan: Plan, ready: _Ready) -> None:
    """plan.toml, environment.json, the card and run.json; of a resumed run only what is missing."""
    assert ready.report.server is not None
    corpus = ready.corpus
    facts = RunFacts(
        target="embedded simulated node" if plan.endpoint is None else "endpoint",
        url=ready.endpoint.url,
        server=ready.report.server,
        checks=ready.report.checks,
        corpus_digest=corpus.digest,
        corpus_notes=ready.prepared.notes,
        shared_tokens=tuple(corpus.shared_tokens(t) for t in range(corpus.trajectories)),
        set_input_tokens_mean=_mean(corpus, 1),
        set_output_tokens_mean=_mean(corpus, 0),
    )
    if (folder / "run.json").exists():
        before = verify.read_run_facts(folder)
        if before.corpus_digest != facts.corpus_digest:
            raise PlanError(
                str(folder), f"was begun with corpus {before.corpus_digest[:16]}, this one is {facts.corpus_digest[:16]}",
                "a run goes on with the corpus it began with", "restore the corpus, or start a new run",
            )  # fmt: skip
        return
    pretty = [("environment.json", _environment()), ("corpus.card.json", ready.prepared.card), ("run.json", facts)]
    rundir.write(folder / "plan.toml", planfile.dump(plan))
    for name, value in pretty:
        rundir.write(folder / name, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")


def _mean(corpus: Compiled, field: int) -> float:
    slots = [corpus.slot(*corpus.locate(i)) for i in range(corpus.total_turns)]
    return sum((s.output_tokens, s.input_tokens)[field] for s in slots) / len(slots)


def _environment() -> dict[str, object]:
    return {
        "openagentperf": __version__,
        "transport": TRANSPORT_POLICY,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "started_unix_s": time.time(),
    }


def _setup(plan: Plan, ready: _Ready) -> Setup:
    server, endpoint = ready.report.server, ready.endpoint
    assert server is not None
    exact = plan.workload.track == "exact"
    return Setup(
        worker=0,
        workers=plan.load.workers,
        url=endpoint.url,
        ca_file=endpoint.ca_file,
        headers=ready.headers,
        fixed_head=fixed_head(
            model=server.model,
            exact=exact,
            temperature=plan.workload.temperature,
            continuous_usage=endpoint.continuous_usage,
            extra=endpoint.extra_body,
        ),
        exact=exact,
        max_output_tokens=plan.workload.max_output_tokens,
        context_tokens=server.context_tokens,
        token_ratio=server.token_ratio,
        corpus=str(ready.prepared.path.resolve()),
        idle_reuse_s=endpoint.idle_reuse_s,
    )


def _order(plan: Plan, index: int, step: Step) -> PhaseOrder:
    """Order and starts follow from the plan's seed; the nonces come from the system and are known to nobody before."""
    rigor = plan.rigor
    return PhaseOrder(
        index=index,
        agents=step.agents,
        kind=step.kind,
        seed=int.from_bytes(derive(plan.seed, "phase", index)[:7], "little"),
        phase_nonce=phase_nonce(Stream(secrets.randbits(120), "nonce")),
        nonce_key=secrets.token_bytes(32),
        start_ns=start_barrier_ns(),
        spawn_per_s=rigor.spawn_per_s,
        settle_s=rigor.settle_s,
        measure_s=rigor.measure_s if step.kind == "certify" else rigor.search_measure_s,
        limit_s=rigor.limit_s,
        turn_timeout_s=plan.slowest_answer_s(),
    )


# -- the phases --------------------------------------------------------------------------------------------------------------


class _Search:
    """One run's loop. The history it asks the search with is the ledger's, re-read at the start."""

    def __init__(self, plan: Plan, folder: Path, fleet: Fleet, observe: Observe) -> None:
        self._plan, self._folder, self._fleet, self._observe = plan, folder, fleet, observe
        lines = rundir.read_ledger(folder)
        self._history: list[Judged] = [line.judged for line in lines if line.judged is not None]
        self._index = max((line.index for line in lines), default=-1) + 1
        self._began_ns = self._shown_ns = now_ns()
        self._standings: tuple[Standing, ...] = ()
        self._facts = verify.read_run_facts(folder)

    def go(self) -> None:
        plan = self._plan
        while True:
            self._standings = standings(self._history, plan.tiers, plan.search, plan.rigor)
            step = next_step(self._history, plan.tiers, plan.search, plan.rigor)
            if step is None:
                return
            self._history.append(self._phase(step))

    def _phase(self, step: Step) -> Judged:
        order = _order(self._plan, self._index, step)
        folder = rundir.phase_folder(self._folder, order.index, order.agents)
        ledger = self._folder / "ledger.jsonl"
        about = {"index": order.index, "agents": order.agents, "kind": order.kind}
        rundir.append_line(ledger, LedgerLine(event="begun", why=step.why, **about))  # type: ignore[arg-type]
        self._index += 1
        try:
            with rundir.storage_errors(folder):
                folder.mkdir(parents=True)
            facts, collector = self._fleet.run(order, folder, self._quota(step), self._tick)
            self._show(collector, order, "judge")
            tables.write_phase(folder, facts, collector.rows, collector.reads, collector.samples, collector.kept)
            judged = verify.judge_phase(folder, self._plan, self._plan.tiers, self._facts)
        except (OpenAgentPerfError, KeyboardInterrupt) as error:
            with suppress(StorageError):  # the disk may be what is broken; the frames written so far stay
                line = LedgerLine(event="broken", why=str(error) or type(error).__name__, **about)  # type: ignore[arg-type]
                rundir.append_line(ledger, line)
            raise
        rundir.append_line(ledger, LedgerLine(event="judged", judged=judged, **about))  # type: ignore[arg-type]
        return judged

    def _quota(self, step: Step) -> Quota:
        rigor = self._plan.rigor
        if step.kind == "search":
            return Quota(rigor.search_turns, 0)
        wanted = max(rigor.trajectories, rigor.trajectories_per_agent * step.agents)
        share = rigor.certify_phases
        return Quota(math.ceil(rigor.certify_turns / share), math.ceil(wanted / share))

    def _tick(self, collector: Collector, order: PhaseOrder, stage: Stage) -> None:
        if now_ns() - self._shown_ns >= NS_PER_S // 2:
            self._shown_ns = now_ns()
            self._show(collector, order, stage)

    def _show(self, collector: Collector, order: PhaseOrder, stage: Stage) -> None:
        elapsed_s = (now_ns() - self._began_ns) / NS_PER_S
        wanted = self._quota(Step(agents=order.agents, kind=order.kind, why="")).turns
        self._observe(snapshot(collector, order, stage, wanted, self._standings, self._plan.rigor, now_ns(), elapsed_s))

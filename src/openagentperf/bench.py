"""The job: search <-> phase <-> score, from a plan to a run folder with a result.

    corpus -> endpoint (or the embedded node) -> preflight -> run folder -> [level -> phase -> tables -> verdict -> ledger]* -> result

Nothing is kept in memory that the folder does not hold: a run that was broken off goes on at its next phase by replaying its ledger
through the same pure search.
"""

from __future__ import annotations

import math
import os
import secrets
import shlex
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from openagentperf import metering, planfile, preflight, rundir, tables, verify
from openagentperf.client.alive import gone
from openagentperf.client.clock import now_ns
from openagentperf.client.endpoint import resolve
from openagentperf.corpus.layout import Compiled
from openagentperf.corpus.nonce import phase_nonce
from openagentperf.corpusfile import open_corpus
from openagentperf.corpusjobs import leftout
from openagentperf.corpusjobs.prepare import Prepared, prepare
from openagentperf.corpusjobs.runfacts import run_facts
from openagentperf.errors import EndpointError, PlanError, PreflightError, StorageError
from openagentperf.load.attempt import attempt
from openagentperf.load.budget import widest
from openagentperf.load.collect import Collector
from openagentperf.load.fleet import Fleet, start_barrier_ns
from openagentperf.load.hostfacts import environment
from openagentperf.load.link import Hosts
from openagentperf.load.place import Share, hosts_of
from openagentperf.load.setup import setup
from openagentperf.plan import Endpoint, Plan, Rigor, TierSet
from openagentperf.records.phase import Judged, PhaseOrder, Quota
from openagentperf.records.preflight import Check, Report
from openagentperf.records.progress import Progress, Stage
from openagentperf.records.result import Result, Target
from openagentperf.records.standing import Standing
from openagentperf.rundir import LedgerLine
from openagentperf.search.step import Step, next_step, standings
from openagentperf.seeds import Stream, derive
from openagentperf.sim.spawn import spawned
from openagentperf.snapshot import snapshot
from openagentperf.units import NS_PER_S, Ns

__all__ = ["Check", "Outcome", "preflight_report", "run", "score"]

EMBEDDED_MODEL = "openagentperf-sim"
Observe = Callable[[Progress], None]


class Outcome(msgspec.Struct, frozen=True):
    """A finished run."""

    folder: Path
    result: Result


def run(plan: Plan, runs: Path, observe: Observe, *, resume: Path | None = None, ray: str = "") -> Outcome:
    """Carry out a plan; `observe` hears about twice a second how it goes. Raises the errors of errors.py; what was measured stays.

    ray   address of the cluster whose hosts make the load; "": this host does
    """
    with ExitStack() as stack:
        ready = _get_ready(plan, runs, observe, stack, ray)
        for check in ready.report.checks:
            if check.status == "warning":
                observe(Progress(stage="preflight", warning=_warning(check)))
        if not ready.report.ok or ready.report.server is None:
            raise _preflight_error(ready.report, ready.endpoint.url)
        folder = resume or new_folder(plan, runs)
        _write_opening(folder, plan, ready)
        observe(Progress(stage="preflight", message=f"run folder {folder}"))
        told = setup(plan, ready.endpoint, ready.headers, ready.report.server, str(ready.prepared.path.resolve()))
        meters = metering.specs(plan, ready.endpoint.url if plan.endpoint is None else None)
        metered = stack.enter_context(metering.Metering(meters, folder, plan.rigor.settle_s / 2))
        metered.idle("before")
        fleet = stack.enter_context(Fleet(told, folder, ready.hosts))
        _Search(plan, folder, fleet, metered, ready, observe).go()
        metered.idle("after")
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
    hosts: Hosts
    share: Share


def _get_ready(plan: Plan, runs: Path, observe: Observe, stack: ExitStack, ray: str = "") -> _Ready:
    if plan.simulate is not None:
        raise PlanError("plan", "has a [simulate] table", "which sends no requests", "use `openagentperf simulate`")
    hosts = stack.enter_context(hosts_of(plan, ray))
    observe(Progress(stage="preparing", message=f"corpus {plan.workload.corpus}"))
    prepared = prepare(plan.workload, plan.seed, runs / "corpora")
    corpus = open_corpus(prepared.path, verify=False)  # prepare has just written or verified it
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
    observe(Progress(stage="preflight", message=f"asking {' and '.join(endpoint.all_urls[:3])}"))
    alone = Step(agents=1, kind="search", why="")
    report = preflight.check(
        endpoint, headers, plan, corpus, _order(plan, -1, alone, longest=1, start_ns=start_barrier_ns(1))
    )
    share = _share(hosts, plan, endpoint, corpus)
    room = share.warnings(plan.search.limit) if report.ok else ()
    checks = (leftout.check(prepared, corpus), *hosts.checks(), *report.checks, *room)
    report = msgspec.structs.replace(report, checks=checks)
    return _Ready(
        prepared=prepared, corpus=corpus, endpoint=endpoint, headers=headers, report=report, hosts=hosts, share=share
    )


def _share(hosts: Hosts, plan: Plan, endpoint: Endpoint, corpus: Compiled) -> Share:
    width = max(widest(corpus.lines(t)) for t in range(corpus.trajectories))
    return Share(hosts, plan.load.workers, width, [resolve(url) for url in endpoint.all_urls])


def _warning(check: Check) -> str:
    return f"{check.name}: {check.found}" + (f": {check.fix}" if check.fix else "")


def _preflight_error(report: Report, url: str) -> PreflightError:
    failed = [check for check in report.checks if not check.ok]
    first, more = failed[0], failed[1:]
    fix = "; ".join([first.fix, *(f"also {c.name}: {c.found} ({c.fix})" for c in more)])
    return PreflightError(f"preflight of {url}, {first.name}", first.found, f"needed: {first.needed}", fix)


def new_folder(plan: Plan, runs: Path) -> Path:
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
    target: Target = "embedded simulated node" if plan.endpoint is None else "endpoint"
    facts = run_facts(
        target,
        ready.endpoint.url,
        ready.report.server,
        ready.report.checks,
        ready.prepared,
        ready.corpus,
        ready.endpoint.urls,
    )
    if (folder / "run.json").exists():
        before = verify.read_run_facts(folder)
        for what, then, now in (
            ("corpus", before.corpus_digest[:16], facts.corpus_digest[:16]),
            ("model", before.server.model, facts.server.model),
            ("context", before.server.context_tokens, facts.server.context_tokens),
        ):
            if then != now:
                raise PlanError(
                    str(folder), f"was begun with {what} {then}, this one is {now}",
                    "a run goes on with what it began with", f"restore the {what}, or start a new run",
                )  # fmt: skip
        return
    pretty = [("environment.json", environment()), ("corpus.card.json", ready.prepared.card), ("run.json", facts)]
    rundir.write(folder / "plan.toml", planfile.dump(plan))
    for name, value in pretty:
        rundir.write(folder / name, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")


def longest_answer(plan: Plan, corpus: Compiled) -> int:
    """Most tokens that a turn may ask for: the recorded ones on the exact track, the cap on the natural one."""
    if plan.workload.track == "natural":
        return plan.workload.max_output_tokens
    return max(corpus.slot(*corpus.locate(i)).output_tokens for i in range(corpus.total_turns))


def _order(plan: Plan, index: int, step: Step, longest: int, start_ns: Ns) -> PhaseOrder:
    """Order and starts follow from the plan's seed; the nonces come from the system and are known to nobody before.

    longest   the most tokens that a turn may ask for
    """
    rigor = plan.rigor
    return PhaseOrder(
        index=index,
        agents=step.agents,
        kind=step.kind,
        seed=int.from_bytes(derive(plan.seed, "phase", index)[:7], "little"),
        phase_nonce=phase_nonce(Stream(secrets.randbits(120), "nonce")),
        nonce_key=secrets.token_bytes(32),
        start_ns=start_ns,
        spawn_per_s=rigor.spawn_per_s,
        settle_s=rigor.settle_s,
        measure_s=rigor.measure_s if step.kind == "certify" else rigor.search_measure_s,
        limit_s=rigor.limit_s,
        turn_timeout_s=plan.slowest_answer_s(longest),
    )


def quota(rigor: Rigor, step: Step) -> Quota:
    """What the phase must hold before its window may close."""
    if step.kind == "search":
        return Quota(rigor.search_turns, 0)
    wanted = max(rigor.trajectories, rigor.trajectories_per_agent * step.agents)
    share = rigor.certify_phases
    return Quota(math.ceil(rigor.certify_turns / share), math.ceil(wanted / share))


# -- the phases --------------------------------------------------------------------------------------------------------------


class _Search:
    """One run's loop. The history it asks the search with is the ledger's, re-read at the start."""

    def __init__(
        self, plan: Plan, folder: Path, fleet: Fleet, metered: metering.Metering, ready: _Ready, observe: Observe
    ) -> None:
        self._plan, self._folder, self._fleet, self._observe = plan, folder, fleet, observe
        self._metered = metered
        self._ready = ready
        self._longest = longest_answer(plan, ready.corpus)
        lines = rundir.read_ledger(folder)
        self._history: list[Judged] = [line.judged for line in lines if line.judged is not None]
        self._index = max((line.index for line in lines), default=-1) + 1
        self._first_index = self._index
        self._began_ns = self._shown_ns = now_ns()
        self._standings: tuple[Standing, ...] = ()
        self._facts = verify.read_run_facts(folder)
        self._meters = verify.read_meters(folder, plan.system)
        self._warned: set[str] = set()

    def go(self) -> None:
        plan = self._plan
        while True:
            self._look_for_the_server()
            self._standings = standings(self._history, plan.tiers, plan.search, plan.rigor)
            step = next_step(self._history, plan.tiers, plan.search, plan.rigor)
            if step is None:
                return
            self._history.append(self._phase(step))

    def _look_for_the_server(self) -> None:
        """Stop where nobody listens any more: every phase to come would fail, and the answer be 0 agents for a server that is gone."""
        for url in self._ready.endpoint.all_urls:
            if why := gone(resolve(url)):
                raise self._away(url, why)

    def _away(self, url: str, why: str) -> EndpointError:
        last = self._history[-1] if self._history else None
        after = f" after phase {last.index} at {last.agents} agents, whose failed turns count" if last else ""
        return EndpointError(
            f"endpoint {url}", f"accepts no connections any more ({why}){after}", "a server that is up is needed",
            f"start it again, then `openagentperf run --resume {shlex.quote(str(self._folder))}` goes on",
        )  # fmt: skip

    def _phase(self, step: Step) -> Judged:
        share, embedded = self._ready.share, self._plan.endpoint is None
        self._fleet.prepare()
        share.check(step.agents)
        order = msgspec.structs.replace(
            _order(self._plan, self._index, step, self._longest, self._fleet.starts_ns(step.agents)),
            ceiling_tokens_per_s=None if embedded else share.ceiling_tokens_per_s(),
        )
        folder = rundir.phase_folder(self._folder, order.index, order.agents)
        begun = LedgerLine(
            event="begun",
            index=order.index,
            agents=order.agents,
            kind=order.kind,
            why=step.why,
            start_ns=order.start_ns,
        )
        with attempt(self._folder, begun) as ended:
            self._index += 1
            with rundir.storage_errors(folder):
                folder.mkdir(parents=True)
            facts, collector = self._fleet.run(order, folder, quota(self._plan.rigor, step), self._tick)
            self._show(collector, order, "judge")
            self._metered.phase_ended(folder, facts)
            tables.write_phase(folder, facts, collector.rows, collector.reads, collector.samples, collector.kept)
            judged = verify.judge_phase(folder, self._plan, self._plan.tiers, self._facts, self._meters)
            ended(judged)
        self._warn_of_power(judged)
        return judged

    def _warn_of_power(self, judged: Judged) -> None:
        """Once a boundary: hours later there would be agents and no agents per megawatt."""
        for row in judged.energy:
            if row.faults and row.boundary not in self._warned:
                self._warned.add(row.boundary)
                warning = f"power ({row.boundary}, {row.basis}): {row.faults[0].why}"
                self._observe(Progress(stage="judge", warning=warning))

    def _tick(self, collector: Collector, order: PhaseOrder, stage: Stage) -> None:
        if now_ns() - self._shown_ns >= NS_PER_S // 2:
            self._shown_ns = now_ns()
            self._show(collector, order, stage)

    def _show(self, collector: Collector, order: PhaseOrder, stage: Stage) -> None:
        elapsed_s = (now_ns() - self._began_ns) / NS_PER_S
        wanted = quota(self._plan.rigor, Step(agents=order.agents, kind=order.kind, why="")).turns
        ended, rigor = order.index - self._first_index, self._plan.rigor
        self._observe(snapshot(collector, order, stage, wanted, self._standings, rigor, now_ns(), elapsed_s, ended))

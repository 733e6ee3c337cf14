"""A search on a simulated cluster: a run folder like any other, the same bytes for the same seed, and no number without its label."""

from __future__ import annotations

from pathlib import Path

import msgspec
import polars as pl
import pytest
from msgspec.structs import replace

import simulated
from openagentperf import bench, planfile, rundir, tables, verify
from openagentperf.bench import Outcome
from openagentperf.cli.summary import summary
from openagentperf.corpusfile import open_corpus
from openagentperf.corpusjobs.prepare import prepare
from openagentperf.errors import PlanError
from openagentperf.plan import Simulate, Tier, TierSet
from openagentperf.records.progress import Progress
from openagentperf.records.turns import ClientSample, Reads, TurnRow
from openagentperf.search.step import standings
from openagentperf.sim import account
from openagentperf.sim.spec import StepCosts
from openagentperf.sim.workload import PlainTurn, Workload
from openagentperf.simulation import job
from openagentperf.simulation.explore import Load, endless_hit_rate, explore
from openagentperf.simulation.sweep import without_reuse
from openagentperf.snapshot import bracket


def carried_out(runs: Path, **changed: object) -> Outcome:
    return job.simulate(simulated.plan(**changed), simulated.simulation(), runs, lambda _: None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return carried_out(tmp_path_factory.mktemp("runs"))


def test_score_derives_the_identical_result(outcome: Outcome) -> None:
    stored = msgspec.json.decode((outcome.folder / "result.json").read_bytes())
    assert list(verify.differing(stored, msgspec.to_builtins(verify.derive(outcome.folder)))) == []
    assert msgspec.to_builtins(outcome.result) == msgspec.to_builtins(verify.derive(outcome.folder))


def test_the_result_says_that_it_is_simulated_and_on_what(outcome: Outcome) -> None:
    result = outcome.result
    said = result.simulated
    assert said is not None
    assert (result.target, said.system, said.marks["assumed"], said.catalog_digest) == (
        "simulated cluster",
        "toy",
        2,
        "c0ffee",
    )
    assert [c.name for c in said.assumed] == [
        "generation.toy.kernels.fp8.mfu",
        "model.toy.acceptance.3",
    ]  # 40 % before 20 %
    slow, never = result.results
    assert slow.standing == "confirmed"
    assert slow.agents is not None
    assert slow.agents > 4
    assert (never.standing, never.agents) == ("unmet", 0)
    assert [result.standing_words(tier) for tier in result.results] == ["simulated", "unmet"]
    assert said.tiers[1].binds.resource == "decode"  # one agent, 500 tokens/s at most of 5,000


def test_no_face_calls_it_certified_or_confirmed(outcome: Outcome) -> None:
    page = summary(outcome.result, str(outcome.folder))
    assert "SIMULATED" in page
    assert "Simulated, not measured: toy" in page
    assert "confirmed" not in page
    assert "certified" not in page
    assert "a prediction: no constant was fitted to a measured capacity" in " ".join(page.split())
    assert all(len(line) <= 80 or str(outcome.folder) in line for line in page.splitlines())


def test_the_search_agrees_with_its_own_rows(outcome: Outcome) -> None:
    """Agents a worker: P25 speed falls through 20 tokens/s where a step takes 50 ms, at a batch of 12 (2 + 4 x 12 ms)."""
    slow = outcome.result.results[0]
    failing = next(p for p in outcome.result.phases if p.agents == slow.smallest_failing)
    assert failing.verdict("slow") == "fail"
    assert slow.speed_p25 is not None
    assert slow.speed_p25 >= 20
    usage = msgspec.json.decode(
        (rundir.phase_folder(outcome.folder, failing.index, failing.agents) / account.USAGE).read_bytes()
    )
    assert usage["pools"][0]["batch_mean"] > 8


def test_modelled_meters_go_through_the_energy_path(outcome: Outcome) -> None:
    slow = outcome.result.results[0]
    by = {(p.boundary, p.basis): p for p in slow.power}
    assert by.keys() == {("accelerator", "modelled"), ("node", "modelled"), ("rack", "modelled"), ("rack", "rated")}
    watts = {key: row.mean_w for key, row in by.items()}
    inner = watts["accelerator", "modelled"]
    assert inner is not None
    assert 4 * simulated.IDLE_W < inner < 4 * simulated.PREFILL_W
    assert watts["node", "modelled"] == pytest.approx(1.5 * inner)
    assert watts["rack", "modelled"] == pytest.approx(2.0 * inner)
    assert watts["rack", "rated"] == 20_000 / 4
    assert slow.agents_per_accelerator == slow.agents / 4  # type: ignore[operator]
    phase = next(p for p in outcome.result.phases if p.kind == "certify")
    usage = msgspec.json.decode(
        (rundir.phase_folder(outcome.folder, phase.index, phase.agents) / account.USAGE).read_bytes()
    )
    energy = next(e for e in phase.energy if e.boundary == "accelerator")
    assert energy.energy_j == pytest.approx(usage["pools"][0]["energy_j"], rel=0.01)


def test_the_same_seed_gives_the_same_bytes(outcome: Outcome, tmp_path: Path) -> None:
    again = carried_out(tmp_path)
    assert simulated.files(again.folder) == simulated.files(outcome.folder)


def test_another_seed_gives_other_rows(outcome: Outcome, tmp_path: Path) -> None:
    other = carried_out(tmp_path, seed=4)
    mine, theirs = (pl.read_parquet(next(f.glob("phases/*/turns.parquet"))) for f in (outcome.folder, other.folder))
    assert not mine.equals(theirs)


def test_other_tiers_can_be_scored_afterwards(outcome: Outcome) -> None:
    """No band: it was searched for the run's own tiers. What binds is told for any."""
    tiers = TierSet(name="other", tier=(Tier(name="fast", output_speed=100, ttft_s=1),))
    derived = verify.derive(outcome.folder, tiers)
    assert derived.simulated is not None
    (tier,) = derived.simulated.tiers
    assert (tier.tier, tier.band) == ("fast", None)


def test_progress_is_told_phase_by_phase(tmp_path: Path) -> None:
    heard: list[Progress] = []
    plan = simulated.plan(limit=4)
    done = job.simulate(plan, simulated.simulation(), tmp_path, heard.append)
    judged = [p for p in heard if p.stage == "judge"]
    assert [p.agents for p in judged] == [j.agents for j in done.result.phases]
    for ended, p in enumerate(judged, 1):  # each with itself: what the search knows once it has ended
        assert p.measured_turns > 0
        known = standings(done.result.phases[:ended], plan.tiers, plan.search, plan.rigor)
        assert p.brackets == tuple(map(bracket, known))
        assert p.run_left_s == pytest.approx(p.elapsed_s / ended * max(s.phases_left for s in known))
    assert judged[-1].run_left_s == 0
    assert heard[-1].message == f"run folder {done.folder}"


def test_an_interrupt_is_in_the_ledger_and_leaves_no_result(tmp_path: Path) -> None:
    def observe(progress: Progress) -> None:
        if progress.phase == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.simulate(simulated.plan(), simulated.simulation(), tmp_path, observe)
    (folder,) = (path for path in tmp_path.iterdir() if path.name != "corpora")
    events = [(line.event, line.index) for line in rundir.read_ledger(folder)]
    assert events == [("begun", 0), ("judged", 0), ("begun", 1), ("judged", 1), ("begun", 2), ("broken", 2)]
    assert not (folder / "result.json").exists()


def test_a_failure_of_a_worker_is_in_the_rows(tmp_path: Path) -> None:
    spec = simulated.cluster(fail_worker_at_s=((0, 1.0),))
    plan = replace(simulated.plan(limit=8), search=replace(simulated.plan().search, start=8, limit=8))
    done = job.simulate(plan, simulated.simulation(spec), tmp_path, lambda _: None)
    rows = pl.read_parquet(next(done.folder.glob("phases/*/turns.parquet")))
    assert set(rows["failure"].unique()) - {"", "aborted"} == {"reset"}


def test_columns_are_written_as_rows_would_be(tmp_path: Path, outcome: Outcome) -> None:
    """The two writers of tables give equal tables: here the rows are made from what the columns hold."""
    source = next(outcome.folder.glob("phases/*-n0004"))
    frame = pl.read_parquet(source / "turns.parquet")
    rows = [msgspec.convert(row, TurnRow) for row in frame.to_dicts()]
    samples = [ClientSample(**row) for row in pl.read_parquet(source / "client.parquet").to_dicts()]
    tmp_path.joinpath("rows").mkdir()
    tables.write_phase(tmp_path / "rows", rundir.read_facts(source), rows[::-1], [Reads()] * len(rows), samples, [])
    assert pl.read_parquet(tmp_path / "rows" / "turns.parquet").equals(frame)
    assert frame["cached_tokens"].null_count() == int((frame["failure"] != "").sum())


def test_a_plan_to_simulate_is_not_run(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"has a \[simulate\] table"):
        bench.run(simulated.plan(), tmp_path, lambda _: None)


def test_a_plan_file_names_what_to_simulate(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(
        '[simulate]\nsystem = "a"\nmodel = "b"\ndeployment = "own.toml"\ncatalog = ["mine.toml"]\n'
    )
    plan = planfile.load(tmp_path / "plan.toml", planfile.Overrides(), {"model": "c"})
    assert plan.simulate is not None
    assert (plan.simulate.system, plan.simulate.model) == ("a", "c")
    assert (plan.simulate.deployment, plan.simulate.catalog) == (
        str(tmp_path / "own.toml"),
        (str(tmp_path / "mine.toml"),),
    )
    assert (plan.rigor.preset, plan.rigor.preliminary, plan.workload.track) == (
        "standard (changed: limit_s)",
        False,
        "exact",
    )
    (tmp_path / "again.toml").write_bytes(planfile.dump(plan))
    assert planfile.load(tmp_path / "again.toml") == planfile.read(tmp_path / "again.toml") == plan
    (tmp_path / "both.toml").write_text('[endpoint]\nurl = "http://h/v1"\n[simulate]\nsystem = "a"\n')
    with pytest.raises(PlanError, match="requests are sent, or they are simulated"):
        planfile.load(tmp_path / "both.toml")


def test_what_options_name_lies_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked: dict[str, object] = {
        "calibrate": "runs/a", "deployment": "own.toml", "catalog": ["mine.toml"], "silicon": "tables"
    }  # fmt: skip
    assert planfile.load(None, planfile.Overrides(), asked).simulate == Simulate(
        calibrate=str(tmp_path / "runs" / "a"), deployment=str(tmp_path / "own.toml"), catalog=(str(tmp_path / "mine.toml"),),
        silicon=str(tmp_path / "tables"),
    )  # fmt: skip
    assert asked["calibrate"] == "runs/a", "the caller's table stays as it is"
    names: dict[str, object] = {"system": "a", "deployment": "tp8", "silicon": "aiconfigurator"}
    assert planfile.load(None, planfile.Overrides(), names).simulate == Simulate(**names)  # type: ignore[arg-type]


# -- in memory -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    plan = simulated.plan()
    prepared = prepare(plan.workload, plan.seed, tmp_path_factory.mktemp("corpora"))
    return Load.of(plan, open_corpus(prepared.path))


def test_exploring_finds_what_the_search_of_a_run_finds(outcome: Outcome, load: Load) -> None:
    """The levels are drawn with other seeds, so they agree within a bracket or two, not to the agent."""
    slow, never = explore(simulated.plan(), simulated.cluster(), load)
    certified = outcome.result.results[0].agents
    assert certified is not None
    assert slow.agents is not None
    assert abs(slow.agents - certified) <= 3
    assert (never.agents, never.at) == (0, None)
    assert slow.at is not None
    assert slow.above is not None
    assert slow.at.seen.judged.agents == slow.agents < slow.above.seen.judged.agents


def test_a_slower_step_serves_fewer_agents(load: Load) -> None:
    slower = StepCosts(step_s=tuple(0.004 + 0.008 * b for b in range(17)), prefill_token_s=1 / 50_000)
    usual, other = (
        explore(simulated.plan(), simulated.cluster(simulated.worker(costs=costs)), load)[0].agents
        for costs in (simulated.worker().costs, slower)
    )
    assert usual is not None
    assert other is not None
    assert other < usual


def test_hit_rate_of_an_endless_cache() -> None:
    """Prompts of 100, 150 and 200 behind 40 shared tokens, twice: 2 x (40 + 100 + 150) of 2 x 450."""
    turns = [PlainTurn(100, 5), PlainTurn(150, 5), PlainTurn(200, 5)]
    work = Workload.plain([turns, turns], shared_tokens=40)
    assert endless_hit_rate(work) == pytest.approx(580 / 900)
    assert endless_hit_rate(without_reuse(work)) == 0.0


def test_without_reuse_nothing_is_found_again(load: Load) -> None:
    cold = replace(load, work=without_reuse(load.work), endless_hit_rate=0.0)
    found = explore(simulated.plan(limit=4), simulated.cluster(), cold)[0]
    level = found.at or found.above
    assert level is not None
    assert level.seen.usage.hit_rate == 0.0
    warm = explore(simulated.plan(limit=4), simulated.cluster(), load)[0].at
    assert warm is not None
    assert warm.seen.usage.hit_rate is not None
    assert warm.seen.usage.hit_rate > 0.6

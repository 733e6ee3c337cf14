"""Runs compared: what is refused and what is not, gates, and folders that are not what they should be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from openagentperf.errors import UsageError
from openagentperf.plan import Tier, TierSet
from openagentperf.report import comparegate, comparerun, comparewords
from openagentperf.report.compare import Comparison, Pair, compare
from openagentperf.report.comparefigures import Figure
from openagentperf.report.comparepage import comparison_html
from openagentperf.report.comparetext import markdown, text
from openagentperf.system import Pool, Price, System
from run_folders import RIGOR, TIERS, write_run
from small_runs import asked

SYSTEM = System(name="Box", accelerators=4, accelerator="GPU", racks=0.5, price=Price(usd_per_hour=10.0))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Easy: 8 certified, fails at 9; fast: 5, fails at 6; 2,800 W."""
    return write_run(tmp_path_factory.mktemp("base") / "a", system=SYSTEM, watts=2800)


def pair(a: Path, b: Path, *gates: str, force: bool = False) -> Pair:
    return compare([a, b], [comparegate.parse(gate) for gate in gates], force).pairs[0]


def figure(of: Pair, name: str, tier: str = "easy", level: int | None = None) -> Figure:
    (found,) = [f for f in of.figures if f.name == name and f.level == level and (level or f.tier == tier)]
    return found


def test_capacities_stand_side_by_side_with_their_brackets(base: Path, tmp_path: Path) -> None:
    found = pair(base, write_run(tmp_path / "b", slow=1.1, seed=2, system=SYSTEM, watts=2800))
    agents = figure(found, "agents")
    assert (agents.a, agents.b, agents.standing) == (8, 7, ("confirmed", "confirmed"))
    assert agents.ratio is not None
    # A lies between 8 and 9, B between 7 and 8: at least 7/9, at most 8/8.
    assert (agents.ratio.ratio, agents.ratio.low, agents.ratio.high) == (
        7 / 8,
        pytest.approx(7 / 9),
        pytest.approx(1.0),
    )
    assert figure(found, "agents_per_accelerator").b == 7 / 4
    assert figure(found, "agents_per_rack").b == 14
    assert figure(found, "agents_per_usd_hour").b == 0.7
    per_mw = figure(found, "agents_per_mw(accelerator, measured)")
    assert per_mw.b == pytest.approx(7 / 2800e-6, rel=1e-3)
    assert per_mw.ratio is not None
    assert per_mw.ratio.ratio == pytest.approx(7 / 8, rel=1e-3)
    assert found.refused == ()
    assert [(d.group, d.name, d.a, d.b) for d in found.differences] == [("plan", "seed", "1", "2")]


def test_nothing_is_less_than_what_failed(base: Path, tmp_path: Path) -> None:
    """B serves none and failed at 1: at most 1 of A's 8, and no less than nothing."""
    found = pair(base, write_run(tmp_path / "b", knee=0.5, system=SYSTEM, watts=2800))
    agents = figure(found, "agents").ratio
    assert agents is not None
    assert (agents.ratio, agents.low, agents.high) == (0, 0, 1 / 8)
    share = figure(found, "agents_per_accelerator").ratio
    assert share is not None
    assert (share.low, share.high) == (0, None), "what B's first agent would be of an accelerator is not known"
    assert share.ends == "-100.0% to ..."
    alone = msgspec.structs.replace(found, figures=(figure(found, "agents_per_accelerator"),))
    assert [line[:2] for line in comparewords.unit_words(alone)] == ["b:"], "a letter that is shown is explained"


def test_an_inventory_by_pools_names_the_column(base: Path, tmp_path: Path) -> None:
    pools = (Pool(name="prefill", accelerators=2), Pool(name="decode", accelerators=6))
    other = write_run(tmp_path / "b", knee=0.5, system=System(accelerator="GPU", pools=pools))
    assert pair(base, other).b.system == "8 x GPU"


def test_a_baseline_s_turns_are_read_once(base: Path) -> None:
    side = comparerun.load(base)
    first = side.answered(8, keep=True)
    assert side.answered(8) is first
    other = comparerun.load(base)
    assert other.answered(8) is not other.answered(8), "of the others nothing stays"


def test_paired_figures_find_the_slowdown_that_was_put_in(base: Path, tmp_path: Path) -> None:
    found = pair(base, write_run(tmp_path / "b", slow=1.1, seed=2))
    ttft, speed = figure(found, "ttft", level=5), figure(found, "speed", level=5)
    assert ttft.phases == (4, 4)
    assert ttft.matched_turns == 48
    assert ttft.ratio is not None
    assert ttft.ratio.low is not None
    assert ttft.ratio.high is not None
    assert ttft.ratio.low < 1.1 < ttft.ratio.high
    assert ttft.ratio.low > 1.0
    assert speed.ratio is not None
    assert speed.ratio.ratio == pytest.approx(1 / 1.1)


def test_a_run_against_itself_changes_nothing(base: Path) -> None:
    found = pair(base, base)
    assert all(f.ratio.ratio == pytest.approx(1.0) for f in found.figures if f.ratio)
    assert found.differences == ()
    assert any("A and B are one run" in said for said in found.cautions)


def test_no_gate_passes_for_a_run_against_itself_or_its_copy(base: Path, tmp_path: Path) -> None:
    """A pipeline that was given the baseline twice must not be green for ever."""
    shutil.copytree(base, tmp_path / "copy")
    for other in (base, tmp_path / "copy"):
        found = pair(base, other, "agents>=-5%", "ttft<=+10%")
        assert {gate.verdict for gate in found.gates} == {"undecided"}
        assert "A and B are one run" in found.gates[0].sentence


OTHER = TierSet(name="two", tier=(Tier(name="easy", output_speed=30, ttft_s=2), TIERS.tier[1]))
EVERYTHING = {"agents", "ttft", "speed", "ttft_p95"}


@pytest.mark.parametrize(
    ("changes", "why", "refused", "compared"),
    [
        ({"corpus": "d" * 64}, "the corpora differ", EVERYTHING, set()),
        ({"embedded": True}, "A was run against an endpoint, B against the embedded simulated node", EVERYTHING, set()),
        ({"track": "natural"}, "tracks are never mixed", EVERYTHING, set()),
        ({"rigor": msgspec.structs.replace(RIGOR, certify_turns=60)}, "certify_turns 30 in A, 60 in B", {"agents"},
         {"ttft", "speed", "ttft_p95"}),
        ({"tiers": OTHER}, "tier easy is 30 tokens/s at P25 and 1 s at P95 in A and 30 tokens/s at P25 and 2 s", {"agents"}, {"ttft"}),
        ({"boundary": "node", "system": msgspec.structs.replace(SYSTEM, hosts=4)}, "boundary and basis are part of the figure's name",
         {"agents_per_mw(accelerator, measured)", "agents_per_mw(node, measured)"}, {"agents", "agents_per_accelerator", "ttft"}),
        ({"watts": None}, "B has none", {"agents_per_mw(accelerator, measured)"}, {"agents", "ttft"}),
        ({"system": msgspec.structs.replace(SYSTEM, price=Price(capex_usd=1e5, years=3))},
         "A is priced as rented, power included, B as owned, without power",
         {"agents_per_usd_hour"}, {"agents", "agents_per_mw(accelerator, measured)"}),
        ({"seed": 3, "model": "other", "limit": 50}, "", set(), EVERYTHING | {"agents_per_mw(accelerator, measured)"}),
    ],
    ids=["corpus", "target", "track", "rigor", "tier limits", "boundary", "no power", "price", "what may differ"],
)  # fmt: skip
def test_what_is_not_comparable_is_refused_figure_by_figure(
    base: Path, tmp_path: Path, changes: dict[str, Any], why: str, refused: set[str], compared: set[str]
) -> None:
    if track := changes.pop("track", None):
        changes["workload"] = {"track": track}
    other = write_run(tmp_path / "b", **({"system": SYSTEM, "watts": 2800} | changes))
    for found, order in ((pair(base, other), "ab"), (pair(other, base), "ba")):
        rows = [f for f in found.figures if f.tier in ("easy", "")]
        assert refused <= {f.name for f in rows if f.refused and f.ratio is None}, order
        assert compared <= {f.name for f in rows if f.ratio is not None and not f.refused}, order
        assert not refused & {f.name for f in rows if f.ratio is not None}, order
    told = "\n".join(refusal.why for refusal in pair(base, other).refused)
    assert why in told
    assert bool(told) == bool(refused)


def test_force_marks_and_hides_nothing(base: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "b", system=SYSTEM, corpus="d" * 64)
    forced = pair(base, other, "agents>=-5%", force=True)
    agents = figure(forced, "agents")
    assert agents.ratio is not None
    assert "the corpora differ" in agents.refused
    assert figure(forced, "ttft", level=5).ratio is None, "there is no turn in common to force"
    assert forced.gates[0].verdict == "undecided"
    told = compare([base, other], force=True)
    for shown in (text(told), markdown(told), comparison_html(told).decode()):
        assert "+0.0%!" in shown
        assert "the corpora differ" in shown
    assert "refused" in text(compare([base, other]))


def test_one_tier_in_common_is_compared_alone(base: Path, tmp_path: Path) -> None:
    found = pair(base, write_run(tmp_path / "b", system=SYSTEM, tiers=TierSet(name="one", tier=(TIERS.tier[1],))))
    assert figure(found, "agents", "fast").ratio is not None
    easy = figure(found, "agents", "easy")
    assert (easy.a, easy.b, easy.ratio) == (8, None, None)
    assert "B has no tier easy" in easy.refused


def test_unequal_answers_are_unequal_work(base: Path, tmp_path: Path) -> None:
    """On the natural track a model that says less serves more."""
    runs = [write_run(tmp_path / name, workload={"track": "natural"}) for name in "ab"]
    path = runs[1] / "result.json"
    result = msgspec.json.decode(path.read_bytes())
    result["workmix"]["output_tokens_mean"] = 100.0  # of 121: 17 % less
    path.write_bytes(msgspec.json.encode(result))
    assert "the answers differ in length (mean 121.0 tokens in A, 100.0 in B" in pair(*runs).refused[0].why


@pytest.mark.parametrize(
    ("gate", "verdict", "words"),
    [
        ("agents>=-12.5%", ["pass", "pass"], "changed by -12.5% (-22.2% to +0.0%)"),  # 7 of 8: inclusive
        ("agents>=-12.4%", ["fail", "pass"], ">= -12.4% was asked for"),
        ("tier:easy agents>=-12.4%", ["fail"], "tier easy"),
        ("tier:fast   agents >= -5 %", ["pass"], "tier fast"),
        ("tier:none agents>=-5%", ["undecided"], "no run has a tier none"),
        ("agents<=+0%", ["pass", "pass"], "<= +0% was asked for"),
        ("agents_per_mw>=-30%", ["pass", "pass"], "agents_per_mw(accelerator, measured)"),
        ("agents_per_mw(accelerator)>=-30%", ["pass", "pass"], "accelerator"),
        ("agents_per_mw(node, measured)>=-30%", ["undecided", "undecided"], "neither run has agents_per_mw(node, measured)"),
        ("agents_per_usd_hour>=-1%", ["fail", "pass"], "agents_per_usd_hour"),
        # at the largest level that both hold: of easy 6 (7 was run by B alone, 8 held by A alone), of fast 5
        ("ttft<=+30%", ["pass", "pass"], "ttft at 6 agents"),
        ("tier:fast ttft<=+1%", ["fail"], "ttft at 5 agents"),
        ("speed>=-9.2%", ["pass", "pass"], "-9.1%"),
        ("speed_p25>=-9%", ["fail", "fail"], "-9.1%"),
        ("tier:fast ttft_p95<=+50%", ["pass"], "ttft_p95 at 5 agents"),
    ],
)  # fmt: skip
def test_gates(slower: tuple[Path, Path], gate: str, verdict: list[str], words: str) -> None:
    outcomes = pair(*slower, gate).gates
    assert [outcome.verdict for outcome in outcomes] == verdict
    assert words in outcomes[0].sentence


@pytest.fixture(scope="module")
def slower(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Easy: 7 of 8; fast: 5 of 5."""
    return base, write_run(tmp_path_factory.mktemp("slower") / "b", slow=1.1, seed=2, system=SYSTEM, watts=2800)


@pytest.mark.parametrize(
    ("a", "b", "gate", "verdict", "words"),
    [
        ({"limit": 4}, {"limit": 4}, "agents>=-5%", "undecided", "A still passes at its search limit"),
        ({}, {"knee": 64, "limit": 32}, "agents>=-5%", "pass", "+300.0% (+255.6% to ...)"),  # at least 32 of 8
        ({}, {"knee": 64, "limit": 32}, "agents<=+999%", "undecided", "B still passes at its search limit"),
        ({"knee": 0.5}, {}, "agents>=-5%", "undecided", "there is no share of nothing"),
        ({}, {"knee": 0.5}, "agents>=-5%", "fail", "-100.0% (-100.0% to -87.5%)"),
        ({}, {"knee": 0.5}, "ttft<=+5%", "undecided", "no number of agents up to 0 was measured by both"),
        ({}, {"corpus": "d" * 64}, "ttft<=+5%", "undecided", "not comparable: the corpora differ"),
    ],
)
def test_what_a_gate_cannot_know_fails_it(
    tmp_path: Path, a: dict[str, Any], b: dict[str, Any], gate: str, verdict: str, words: str
) -> None:
    tiers = TierSet(name="one", tier=TIERS.tier[:1])
    found = pair(write_run(tmp_path / "a", tiers=tiers, **a), write_run(tmp_path / "b", tiers=tiers, **b), gate)
    assert [outcome.verdict for outcome in found.gates] == [verdict]
    assert words in found.gates[0].sentence


@pytest.mark.parametrize(
    "asking",
    ["", "agents", "agents>=5", "agents>-5%", "agent>=-5%", "agents(node)>=-5%", "agents>=-5%%", "tier: agents>=-5%"],
)
def test_what_is_no_gate_is_said(asking: str) -> None:
    with pytest.raises(UsageError, match="--gate"):
        comparegate.parse(asking)


def test_two_levels_that_failed_many_turns_have_no_paired_figures(base: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "b", system=SYSTEM)
    path = other / "result.json"
    result = msgspec.json.decode(path.read_bytes())
    for phase in result["phases"]:
        phase["failed_turns"] = 3  # of 48
    path.write_bytes(msgspec.json.encode(result))
    found = figure(pair(base, other), "ttft", level=5)
    assert found.ratio is None
    assert "B failed 6.2% of its turns" in found.why


# -- folders that are not what they should be -----------------------------------------------------------------------------------


def spoil(name: str) -> Callable[[Path], None]:
    return {
        "no turns": lambda run: [path.unlink() for path in run.glob("phases/*/turns.parquet")],
        "cut turns": lambda run: [path.write_bytes(path.read_bytes()[:-9]) for path in run.glob("phases/*/turns.parquet")],
        "columns of another kind": lambda run: [
            pl.read_parquet(path).with_columns(trajectory=pl.lit("first")).write_parquet(path)
            for path in run.glob("phases/*/turns.parquet")
        ],
        "no phases": lambda run: shutil.rmtree(run / "phases"),
        "garbage in the card": lambda run: (run / "corpus.card.json").write_bytes(b"\xff{"),
        "deep card": lambda run: (run / "corpus.card.json").write_bytes(b"[" * 100_000),
        # Shallow enough to be decoded, and deeper than what walks through it may go.
        "deep environment": lambda run: (run / "environment.json").write_bytes(b'{"a":' * 800 + b"1" + b"}" * 800),
        "no text in the environment": lambda run: (run / "environment.json").write_bytes(b'{"a":"\xff"}'),
        "no text in the ledger": lambda run: [(run / "result.json").unlink(), (run / "ledger.jsonl").write_bytes(b'{"event":"\xff"}\n')],
        "deep result": lambda run: (run / "result.json").write_bytes(b'{"a":' + b"[" * 100_000),
        "deep ledger": lambda run: [(run / "result.json").unlink(), (run / "ledger.jsonl").write_bytes(b"[" * 100_000 + b"\n")],
        "deep phase": lambda run: [path.write_bytes(b"[" * 100_000) for path in run.glob("phases/*/phase.json")],
        "no environment": lambda run: (run / "environment.json").unlink(),
        "garbage in the result": lambda run: (run / "result.json").write_text("{"),
        "no plan": lambda run: (run / "plan.toml").unlink(),
        "garbage in the plan": lambda run: (run / "plan.toml").write_bytes(b"\x00 = ["),
        "no run.json": lambda run: (run / "run.json").unlink(),
        "no result": lambda run: (run / "result.json").unlink(),
        "no result, cut ledger": lambda run: [(run / "result.json").unlink(),
                                              (run / "ledger.jsonl").write_bytes((run / "ledger.jsonl").read_bytes()[:-40])],
    }[name]  # type: ignore[return-value]  # fmt: skip


@pytest.mark.parametrize(
    ("how", "status", "words"),
    [
        ("no turns", 0, "turns.parquet: cannot be read"),
        ("cut turns", 0, "turns.parquet: cannot be read"),
        ("columns of another kind", 0, "its rows cannot be read"),
        ("no phases", 0, "phase.json: cannot be read"),
        ("garbage in the card", 0, "What differs"),
        ("deep card", 0, "What differs"),
        ("deep environment", 0, "What differs"),
        ("no text in the environment", 0, "What differs"),
        ("no text in the ledger", 5, "ledger.jsonl:1: is not a ledger line"),
        ("deep result", 5, "result.json: cannot be read"),
        ("deep ledger", 5, "ledger.jsonl:1: is not a ledger line"),
        ("deep phase", 0, "phase.json: cannot be read"),
        ("no environment", 0, "What differs"),
        ("garbage in the result", 5, "result.json: cannot be read"),
        ("no plan", 2, "holds no plan.toml"),
        ("garbage in the plan", 2, "plan.toml"),
        ("no run.json", 5, "run.json: cannot be read"),
        ("no result", 0, "B has not finished"),
        ("no result, cut ledger", 0, "B has not finished"),
    ],
)
def test_a_broken_folder_is_said(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str, status: int, words: str
) -> None:
    broken = tmp_path / "b"
    shutil.copytree(base, broken)
    spoil(how)(broken)
    ended = asked(capsys, "compare", str(base), str(broken))
    assert ended.status == status
    told = "".join((ended.out + ended.err).split())  # a long path is broken where the line ends
    assert "".join(words.split()) in told
    assert "Traceback" not in ended.err


def test_the_command_s_statuses(slower: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = map(str, slower)
    assert asked(capsys, "compare", a, b).status == 0
    assert asked(capsys, "compare", a, b, "--gate", "agents>=-50%", "--gate", "ttft<=+90%").status == 0
    failed = asked(capsys, "compare", a, b, "--gate", "agents>=-5%")
    assert failed.status == 6
    assert "gate agents>=-5% of b: tier easy, agents changed by -12.5%" in failed.err
    other = str(write_run(tmp_path / "c", corpus="d" * 64))
    assert asked(capsys, "compare", a, other).status == 2
    assert asked(capsys, "compare", a, other, "--force").status == 0
    assert asked(capsys, "compare", a).status == 2
    assert asked(capsys, "compare", a, str(tmp_path / "nowhere")).status == 2
    assert asked(capsys, "compare", a, str(tmp_path)).status == 2
    assert asked(capsys, "compare", a, b, "--gate", "nonsense").status == 2


def test_every_form_says_the_same(
    slower: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = map(str, slower)
    data = msgspec.json.decode(asked(capsys, "compare", a, b, "--json").out, type=Comparison)
    assert data == compare(slower)
    plain = asked(capsys, "compare", a, b).out
    assert max(map(len, plain.splitlines())) <= 80
    assert asked(capsys, "compare", a, b, "--format", "html", "--out", str(tmp_path / "c.html")).status == 0
    page = (tmp_path / "c.html").read_text()
    comment = asked(capsys, "compare", a, b, "--format", "md").out
    shown = [f for f in data.pairs[0].figures if f.ratio]
    assert len(shown) > 20
    for row in shown:
        assert row.ratio is not None
        for form in (plain, page, comment):
            assert f"{row.ratio.change:+.1%}" in form


def test_three_runs_are_held_against_the_first(slower: tuple[Path, Path], tmp_path: Path) -> None:
    third = write_run(tmp_path / "third", seed=5)
    found = compare([*slower, third])
    assert [(p.a.run, p.b.run) for p in found.pairs] == [("a", "b"), ("a", "third")]


@pytest.mark.parametrize(
    ("table", "spoil"),
    [
        ("turns", lambda rows: rows.with_columns(due_ns=pl.lit("soon"))),
        ("client", lambda rows: rows.with_columns(t_ns=pl.lit("soon"))),
        ("client", lambda rows: rows.drop("active_agents")),
    ],
    ids=["time", "sample's time", "no column"],
)
def test_rows_of_another_kind_in_an_unfinished_run_are_said(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str, spoil: Callable[[Any], Any]
) -> None:
    """Its result is derived on the way, by code that trusts what a run wrote."""
    copy = tmp_path / "copy"
    shutil.copytree(base, copy)
    (copy / "result.json").unlink()
    path = copy / "phases" / "000-n0001" / f"{table}.parquet"
    spoil(pl.read_parquet(path)).write_parquet(path)
    for command in (("compare", str(base), str(copy)), ("score", str(copy))):
        ended = asked(capsys, *command)
        assert ended.status == 5
        assert "000-n0001" in ended.sentence
        assert "cannot be judged" in ended.sentence

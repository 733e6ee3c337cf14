"""The site: only what holds, nothing mixed, labels that somebody listed stands for, the same bytes each time."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from openagentperf import rundir
from openagentperf.errors import OpenAgentPerfError, UsageError
from openagentperf.leaderboard import bundle, sshsig, statements
from openagentperf.leaderboard.boards import Board, boards
from openagentperf.leaderboard.entries import Collected, Entry, collect
from openagentperf.leaderboard.examine import Examined, Failed, examine
from openagentperf.leaderboard.pages import claims
from openagentperf.leaderboard.published import published
from openagentperf.leaderboard.site import build
from openagentperf.system import Pool, Price, System
from run_folders import TIERS, write_run
from small_runs import asked
from sshkeys import signer_line, write_key

ROOT = "5" * 64


def system(name: str, accelerators: int = 4, usd: float | None = None) -> System:
    return System(
        name=name, accelerators=accelerators, accelerator="GPU", rated_accelerator_w=1000.0,
        price=Price(usd_per_hour=usd) if usd else None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def submissions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four results on one board, one on another corpus, one simulated; and three that do not hold."""
    folder = tmp_path_factory.mktemp("submissions")
    write_run(folder / "small", knee=8, watts=2800, system=system("small", usd=10))
    write_run(folder / "deep" / "er" / "large", knee=14, watts=4400, system=system("large", usd=40), seed=2)
    write_run(folder / "dear", knee=6, watts=2800, system=system("dear", usd=20), seed=3)
    nodes = msgspec.structs.replace(system("nodes"), hosts=4)
    write_run(folder / "nodes", knee=8, watts=5000, boundary="node", system=nodes, seed=4)
    write_run(folder / "other-corpus", corpus="d" * 64, seed=5)
    write_run(folder / "simulated", embedded=True, seed=6)
    write_run(folder / "unfinished", finish=False, seed=7)
    edited = write_run(folder / "edited", seed=8) / "result.json"
    edited.write_text(edited.read_text().replace('"agents": 8', '"agents": 80'))
    (folder / "garbage.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd and no more")
    (folder / "readme.md").write_text("not a submission")
    return folder


@pytest.fixture(scope="module")
def collected(submissions: Path) -> Collected:
    return collect(submissions, {}, here)


def here(path: Path) -> Examined | Failed:
    """`examine` without a process of its own."""
    try:
        return examine(path)
    except OpenAgentPerfError as error:
        return Failed(why=error.sentence())


def by_system(found: Collected) -> dict[str, str]:
    return {entry.found.plan.system.name: entry.found.content for entry in found.entries}


def test_only_what_holds_is_a_result(collected: Collected) -> None:
    assert {entry.places for entry in collected.entries} == {
        ("small",), ("deep/er/large",), ("dear",), ("nodes",), ("other-corpus",), ("simulated",)
    }  # fmt: skip
    refused = dict(collected.refused)
    assert refused.keys() == {"unfinished", "edited", "garbage.tar.zst"}
    assert "the run has not finished" in refused["unfinished"]
    assert "result.json has 80, the rows give 8" in refused["edited"]
    assert "broken zst archive" in refused["garbage.tar.zst"]


def test_names_that_are_no_text_do_not_stop_it(submissions: Path, tmp_path: Path) -> None:
    """A file name may be any bytes but / and 0."""
    (tmp_path / "in").mkdir()
    shutil.copytree(os.fsencode(submissions / "unfinished"), os.fsencode(tmp_path / "in") + b"/\xff\x1b[31m")
    build(tmp_path / "in", tmp_path / "out", None, 8 << 30, 60, lambda _: None)
    assert "\ufffd" in (tmp_path / "out" / "index.html").read_text()


def test_what_was_not_asked_the_same_shares_no_table(collected: Collected) -> None:
    made = boards(collected.entries)
    assert [(len(board.tiers[0].rows), board.simulated) for board in made] == [(4, False), (1, False), (1, True)]
    assert "simulated" in made[-1].title
    for board in made:
        assert len({entry.found.result.corpus_digest for entry in shown(board)}) == 1


def shown(board: Board) -> list[Entry]:
    """In the order of its tables."""
    return [row.entry for row in board.tiers[0].rows]


def first(collected: Collected) -> Board:
    return boards(collected.entries)[0]


def test_watts_inside_different_boundaries_are_different_columns(collected: Collected) -> None:
    table = first(collected).tiers[0]
    rows = {row.entry.found.plan.system.name: dict(zip(table.head, row.cells, strict=True)) for row in table.rows}
    measured, node = "agents/MW (accelerator, measured)", "agents/MW (node, measured)"
    assert rows["small"][measured].text == "2,857"  # 8 / 2,800 W
    assert rows["small"][node].text == "-"
    assert rows["nodes"][node].text == "1,600"  # 8 / 5,000 W
    assert rows["nodes"][measured].text == "-"
    assert rows["small"]["agents/MW (accelerator, rated)"].text == "2,000"  # 8 / 4 x 1,000 W
    assert rows["small"]["agents / accelerator"].text == "2"
    assert rows["small"]["agents per $/h"].text == "0.8"
    assert "agents / rack" not in table.head, "nobody declared racks"


def ranked(folder: Path) -> list[str]:
    (board,) = boards(collect(folder, {}, here).entries)
    return [entry.found.plan.system.name for entry in shown(board)]


def test_an_undeclared_inventory_stands_behind_every_declared_one(tmp_path: Path) -> None:
    """8 agents on nobody knows how much are no 8 agents an accelerator; among them, more come first."""
    for name, accelerators, knee in (("large", 4, 14), ("few", 0, 4), ("many", 0, 8)):
        write_run(tmp_path / name, knee=knee, system=system(name, accelerators))
    assert ranked(tmp_path) == ["large", "many", "few"]


def test_rank_is_by_the_first_tier_alone(tmp_path: Path) -> None:
    """`first`: 2 agents on 4 at the first tier. `second`: none there, and 1 on 1 at the second, which is another question."""
    swapped = msgspec.structs.replace(TIERS, tier=TIERS.tier[::-1])
    write_run(tmp_path / "first", knee=3.3, tiers=swapped, system=system("first"))
    write_run(tmp_path / "second", knee=1.2, tiers=swapped, system=system("second", 1))
    assert ranked(tmp_path) == ["first", "second"]


def test_on_the_natural_track_the_length_of_the_answers_stands_beside_the_number(
    tmp_path: Path, collected: Collected
) -> None:
    write_run(tmp_path / "natural", workload={"track": "natural"})
    (board,) = boards(collect(tmp_path, {}, here).entries)
    table = board.tiers[0]
    assert dict(zip(table.head, table.rows[0].cells, strict=True))["output tokens, mean"].text == "121"
    assert "output tokens, mean" not in first(collected).tiers[0].head, "equal by construction"


def test_the_pareto_front_is_what_nothing_beats(collected: Collected) -> None:
    pictures = {picture.title: picture for picture in first(collected).pictures}
    names = {number: entry.found.plan.system.name for number, entry in enumerate(shown(first(collected)), 1)}
    prices = pictures["Dollars an hour against agents (tier easy)"]
    # small: 10 $ and 8 agents; large: 40 $ and 14; dear: 20 $ and 6, which small beats in both
    assert {names[point.number]: point.best for point in prices.points} == {"small": True, "large": True, "dear": False}
    power = pictures["Agents per megawatt against speed (accelerator, measured)"]
    best = [names[point.number] for point in power.points if point.best]
    assert set(best) == {"large"}
    assert pictures["Agents per megawatt against speed (node, measured)"].points


def test_a_folder_and_its_bundle_are_one_result(submissions: Path, tmp_path: Path) -> None:
    shutil.copytree(submissions / "small", tmp_path / "in" / "small")
    bundle.write(tmp_path / "in" / "small", tmp_path / "in" / "small.zip", write_key(tmp_path / "key", "me"))
    found = collect(tmp_path / "in", {}, here)
    (entry,) = found.entries
    assert entry.places == ("small", "small.zip")
    assert entry.found.signed_by, "the signed one stands for both"


# -- labels --------------------------------------------------------------------------------------------------------------------


def pools(prefill: int, decode: int) -> System:
    """An inventory by pools alone: `accelerators` is 0."""
    return System(
        name="mine", accelerator="GPU", pools=(Pool(name="prefill", accelerators=prefill), Pool(name="decode", accelerators=decode))
    )  # fmt: skip


class Lab:
    """A submission signed by its owner, a re-run signed by a lab, and statements about them."""

    def __init__(
        self, folder: Path, rerun_knee: float = 8, sealed: str = ROOT, signed: bool = True, model: str = "model",
        watts: tuple[float | None, float | None] = (2800, 2800), systems: tuple[System, System] | None = None,
    ) -> None:  # fmt: skip
        self.inside = folder / "in"
        self.owner, self.lab, self.stranger = (write_key(folder / name, name) for name in ("owner", "lab", "stranger"))
        own, other = systems or (system("mine"), system("mine"))
        run = write_run(folder / "runs" / "mine", system=own, watts=watts[0])
        again = write_run(
            folder / "runs" / "again", knee=rerun_knee, seed=9, sealed_root=sealed, system=other, model=model,
            watts=watts[1],
        )  # fmt: skip
        self.content = bundle.write(run, self.inside / "mine.zip", self.owner if signed else None)
        self.again = bundle.write(again, self.inside / "again.zip", self.lab)
        (folder / "keys").write_text(signer_line(self.lab, "The-Lab") + signer_line(self.owner, "Owner"))
        self.keys = sshsig.listed(folder / "keys")

    def state(self, key: Path, **fields: str) -> None:
        made = statements.Statement(by="anybody", **({"claim": "reviewed", "content": self.content} | fields))  # type: ignore[arg-type]
        path = self.inside / "reviews" / "one.json"
        rundir.write(path, statements.encode(made))
        rundir.write(path.with_name("one.json.sig"), statements.sign(statements.encode(made), key))

    def label(self) -> tuple[str, str, str]:
        """Provenance, by whom, and why the statement counts for nothing."""
        found = collect(self.inside, self.keys, here)
        label = next(entry.label for entry in found.entries if entry.found.content == self.content)
        return label.provenance, label.by, "; ".join(one.why for one in found.unheeded)


def test_without_a_statement_all_is_self_reported(tmp_path: Path) -> None:
    assert Lab(tmp_path).label() == ("self-reported", "", "")


def test_a_listed_key_reviews(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.state(lab.lab)
    assert lab.label() == ("reviewed", "The-Lab", ""), "the list's name, not the statement's"


def test_a_listed_key_verifies_by_its_own_run_on_a_sealed_set(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.state(lab.lab, claim="verified", rerun=lab.again)
    assert lab.label() == ("verified", "The-Lab", "")


@pytest.mark.parametrize(
    ("made", "state", "why"),
    [
        ({}, lambda lab: lab.state(lab.stranger), "is not in the site's list"),
        ({}, lambda lab: lab.state(lab.owner), "stated by the key that submitted it"),
        ({"signed": False}, lambda lab: lab.state(lab.lab), "the bundle is not signed"),
        ({}, lambda lab: lab.state(lab.lab, content="0" * 64), "about nothing that holds here"),
        ({}, lambda lab: lab.state(lab.lab, claim="verified"), "there is no run to verify it by"),
        ({}, lambda lab: lab.state(lab.lab, claim="verified", rerun="0" * 64), "there is no run to verify it by"),
        ({"sealed": ""}, lambda lab: lab.state(lab.lab, claim="verified", rerun=lab.again), "not on a sealed set"),
        ({"rerun_knee": 5}, lambda lab: lab.state(lab.lab, claim="verified", rerun=lab.again), "the re-run found 4 at tier easy, not 8"),
        ({"model": "a smaller one"}, lambda lab: lab.state(lab.lab, claim="verified", rerun=lab.again), "of another model"),
        ({"watts": (2800, None)}, lambda lab: lab.state(lab.lab, claim="verified", rerun=lab.again),
         "the re-run found no number at tier easy, not 2,857 agents/MW (accelerator, measured)"),
        ({"watts": (2800, 3200)}, lambda lab: lab.state(lab.lab, claim="verified", rerun=lab.again),
         "the re-run found 2,500 at tier easy, not 2,857 agents/MW (accelerator, measured)"),
        ({"systems": (pools(4, 4), pools(40, 40)), "watts": (None, None)},
         lambda lab: lab.state(lab.lab, claim="verified", rerun=lab.again),
         "the re-run declares other accelerators"),
        ({"systems": (pools(4, 4), pools(2, 6)), "watts": (None, None)},
         lambda lab: lab.state(lab.lab, claim="verified", rerun=lab.again),
         "the re-run declares other accelerators"),
        ({}, lambda lab: (lab.state(lab.lab), (lab.inside / "reviews/one.json").write_bytes(b"{}")), "its signature does not hold"),
        ({}, lambda lab: (lab.state(lab.lab), (lab.inside / "reviews/one.json.sig").unlink()), "cannot be read"),
    ],
    ids=["stranger", "own key", "unsigned", "about nothing", "no re-run", "absent re-run", "open set", "not confirmed",
         "other model", "no power", "more power", "more accelerators in pools", "other pools", "edited", "no signature"],
)  # fmt: skip
def test_a_statement_that_proves_nothing_changes_nothing(
    tmp_path: Path, made: dict[str, object], state: Callable[[Lab], object], why: str
) -> None:
    lab = Lab(tmp_path, **made)  # type: ignore[arg-type]
    state(lab)
    provenance, by, unheeded = lab.label()
    assert (provenance, by) == ("self-reported", "")
    assert why in unheeded


def test_the_command_states_what_a_site_believes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab(tmp_path)
    mine, again = str(lab.inside / "mine.zip"), str(lab.inside / "again.zip")
    out = ("--by", "me", "--key", str(lab.lab), "--out", str(lab.inside / "reviews"))
    assert asked(capsys, "verify", mine, "--state", "reviewed", *out).status == 0
    assert lab.label()[:2] == ("reviewed", "The-Lab")
    assert asked(capsys, "verify", mine, "--state", "verified", "--rerun", again, *out).status == 0
    assert lab.label()[:2] == ("verified", "The-Lab"), "the stronger of two"
    assert asked(capsys, "verify", mine, "--state", "verified", *out).status == 2
    assert asked(capsys, "verify", mine, "--state", "reviewed").status == 2
    stray = asked(capsys, "verify", mine, "--by", "me", "--rerun", again)
    assert stray.status == 2
    assert "has --by, --rerun without --state" in stray.sentence
    assert asked(capsys, "verify", mine, "--state", "reviewed", "--rerun", again, *out).status == 2
    # Nothing is derived before the options are known to make a statement: an empty folder has nothing to examine, status 5.
    (tmp_path / "empty").mkdir()
    assert asked(capsys, "verify", str(tmp_path / "empty"), "--state", "verified", *out).status == 2
    assert asked(capsys, "verify", str(tmp_path / "runs/mine"), "--state", "reviewed", *out).status == 2


# -- the pages -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(submissions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    build(submissions, out, None, 8 << 30, 60, lambda _: None)
    return out


def test_the_same_folders_give_the_same_bytes(submissions: Path, site: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copied"
    shutil.copytree(submissions, copy)
    stale = tmp_path / "out" / "results" / ("0" * 16 + ".html")
    stale.parent.mkdir(parents=True)
    stale.write_text("a result that is gone")
    (stale.parent / "mine.html").write_text("not ours to remove")
    build(copy, tmp_path / "out", None, 8 << 30, 60, lambda _: None)
    pages = {path.relative_to(site): path.read_bytes() for path in site.rglob("*.html")}
    assert len(pages) == 7
    (stale.parent / "mine.html").unlink()
    assert pages == {
        path.relative_to(tmp_path / "out"): path.read_bytes() for path in (tmp_path / "out").rglob("*.html")
    }


def test_published_figures_stand_in_a_table_of_their_own(site: Path) -> None:
    rows = {row.system: (row.agents_per_mw, row.agents_per_accelerator, row.accelerators) for row in published().row}
    assert rows == {"NVIDIA GB300 NVL72": (61354, 57.5, 32), "NVIDIA HGX H200": (2594, 1.4, 8)}
    page = (site / "index.html").read_text()
    tables = re.findall(r"<table.*?</table>", page, re.DOTALL)
    holding = [table for table in tables if "61,354" in table or "2,594" in table]
    assert len(holding) == 1
    assert "large" not in holding[0]
    assert "Published elsewhere" in page
    assert "edited" not in re.sub(r'<h2 class="group" id="refused">.*', "", page, flags=re.DOTALL)


def test_a_result_s_page_has_what_it_takes_to_run_it_again(
    submissions: Path, collected: Collected, site: Path, tmp_path: Path
) -> None:
    content = by_system(collected)["small"]
    page = (site / "results" / f"{content[:16]}.html").read_text()
    for needed in ("openagentperf run plan.toml", "certify_turns = 30", "self-reported", "preliminary", "quality unverified",
                   content, "agents/MW (accelerator, measured)", "How the server was started is not declared"):  # fmt: skip
        assert needed in page, needed
    copy = tmp_path / "in" / "small"
    shutil.copytree(submissions / "small", copy)
    (copy / "launch.txt").write_text("vllm serve <model> --tensor-parallel-size 4")
    build(tmp_path / "in", tmp_path / "out", None, 8 << 30, 60, lambda _: None)
    (page_,) = (tmp_path / "out" / "results").iterdir()
    assert "vllm serve &lt;model&gt; --tensor-parallel-size 4" in page_.read_text()


def test_a_simulated_result_is_nowhere_called_confirmed(collected: Collected) -> None:
    entry = next(entry for entry in collected.entries if entry.places == ("simulated",))
    result = msgspec.structs.replace(entry.found.result, target="simulated cluster")
    told = "\n".join(claims(entry._replace(found=msgspec.structs.replace(entry.found, result=result))))
    assert "preliminary" in told
    assert "confirmed" not in told
    assert told.count("cache unverified:") <= 1, "a label and the note behind it are one"


def test_an_environment_is_cut_before_it_crosses_to_the_site(submissions: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(submissions / "small", tmp_path / "small"))
    long = {f"{n} {'k' * 10_000}": ["v" * 100_000] for n in range(150)}
    (copy / "environment.json").write_bytes(msgspec.json.encode(long))
    fields = examine(copy).environment
    assert len(fields) == 100
    assert max(len(name) for name, _ in fields) < 250
    assert max(len(value) for _, value in fields) < 1100


def test_the_site_says_what_it_refused(submissions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("small", "unfinished"):
        shutil.copytree(submissions / name, tmp_path / "in" / name)
    done = asked(capsys, "leaderboard", str(tmp_path / "in"), "--out", str(tmp_path / "site"))
    assert done.status == 0
    assert "1 shown, 1 refused" in done.err
    assert "refused: unfinished: " in done.err
    assert "unfinished" in (tmp_path / "site" / "index.html").read_text()
    assert done.out.strip().endswith("index.html")
    with pytest.raises(UsageError, match="lies inside"):
        build(submissions, submissions / "site", None, 8 << 30, 60, lambda _: None)
    assert asked(capsys, "leaderboard", str(tmp_path / "nowhere"), "--out", str(tmp_path / "x")).status == 2


def test_an_empty_folder_gives_an_empty_site(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    build(tmp_path / "in", tmp_path / "out", None, 8 << 30, 60, lambda _: None)
    assert "No result yet." in (tmp_path / "out" / "index.html").read_text()


def test_tiers_that_share_a_name_and_no_limits_share_no_table(tmp_path: Path) -> None:
    harder = msgspec.structs.replace(TIERS, tier=(msgspec.structs.replace(TIERS.tier[0], ttft_s=0.9), TIERS.tier[1]))
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", tiers=harder)
    assert [len(shown(board)) for board in boards(collect(tmp_path, {}, here).entries)] == [1, 1]

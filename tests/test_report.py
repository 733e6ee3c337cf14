"""The report of a run: every figure of it is result.json's, and whatever is missing or hostile in the folder stays words."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import re
import shlex
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.runfolder import Columns, make_run, plan_of
from hostile import HOSTILE
from openagentperf import rundir, verify
from openagentperf.cli.main import main
from openagentperf.errors import UsageError
from openagentperf.plan import Tier, TierSet
from openagentperf.report import background, sections
from openagentperf.report.figures import figures
from openagentperf.report.make import Format, report
from openagentperf.report.marked import agents, number
from openagentperf.report.opened import open_run
from openagentperf.report.searchpicture import described, search_spec
from openagentperf.search.step import Step


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("made") / "20260101-000000-made")


@pytest.fixture(scope="module")
def page(run: Path) -> bytes:
    return report(run)["report.html"]


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def text_of(page: bytes) -> str:
    words = re.sub(r"<style.*?</style>|<svg.*?</svg>", " ", page.decode(), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", words).split())


# -- figures -----------------------------------------------------------------------------------------------------------------


class Figures(HTMLParser):
    """Every marked figure of a page: path, exact value, and the words that a reader sees."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.found: list[tuple[str, str | None, str]] = []
        self._open: tuple[str, str | None] | None = None
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        if "data-path" in about:
            self._open = (str(about["data-path"]), about.get("value"))

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.found.append((*self._open, data))
            self._open = None


def leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and every null of a JSON value, with its path."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, f"{at}.{name}" if at else name)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from leaves(item, f"{at}[{i}]")
    elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        yield at, value


def says(text: str, value: float) -> bool:
    """The words, read by themselves, are the value to the last digit that they show."""
    found = re.match(r"(-?[\d,]+(?:\.(\d+))?(?:e([+-]\d+))?)\s*(%|ms)?", text)
    assert found, text
    shown = float(found[1].replace(",", ""))
    scale = {"%": 0.01, "ms": 0.001}.get(found[4] or "", 1.0)
    last_digit = 10.0 ** (int(found[3] or 0) - len(found[2] or ""))
    return abs(shown - value / scale) <= 0.51 * last_digit


def test_every_figure_of_the_page_is_the_one_of_result_json(run: Path, page: bytes) -> None:
    stored = dict(leaves(msgspec.json.decode((run / "result.json").read_bytes())))
    figures = Figures(page).found
    assert len(figures) > 300
    for path, value, text in figures:
        assert path in stored, path
        if value is None:
            assert stored[path] is None, path
            assert text in ("-", "infinite"), path
        else:
            assert msgspec.json.decode(value) == stored[path], path
            assert says(text, stored[path]), f"{path}: {text} for {stored[path]!r}"


def test_every_figure_of_result_json_stands_in_the_page(run: Path, page: bytes) -> None:
    shown = {path for path, _, _ in Figures(page).found}
    stored = dict(leaves(msgspec.json.decode((run / "result.json").read_bytes())))
    absent = {path for path, value in stored.items() if value is not None} - shown
    assert not absent, sorted(absent)[:10]


def test_a_wrong_figure_would_be_found() -> None:
    assert says("1,234", 1234)
    assert says("12.3 ms", 0.01234)
    assert says("98.7%", 0.98712)
    assert says("2.5 s", 2.4999)
    for text, value in (("1,234", 1236), ("12.3 ms", 0.0125), ("98.7%", 0.986), ("2.5 s", 2.56), ("12.3 ms", 12.3)):
        assert not says(text, value), text


def test_failed_turns_are_counted_in_every_distribution(run: Path) -> None:
    opened = open_run(run)
    assert opened.result is not None
    found = figures(opened)
    failed = {f"{agents(j.agents)}, phase {j.index}": f"{j.failed_turns:,}" for j in opened.result.phases}
    shown = [
        section for section in sections.speeds(found, None, None) if section.table and section.table.head[2] == "failed"
    ]
    assert [section.title for section in shown] == ["TTFT", "Output speed", "End-to-end speed"]
    for section in shown:
        assert section.table is not None
        assert section.table.rows
        assert {str(row[0]): str(row[2]) for row in section.table.rows}.items() <= failed.items(), section.title
        assert any(row[2] != "0" for row in section.table.rows), section.title


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12, "12"),
        (12.0, "12"),
        (0.12346, "0.1235"),
        (999.96, "1,000"),
        (1234.5, "1,234"),
        (61354.2, "61,354"),
        (0, "0"),
        (123456, "123,456"),
    ],
)
def test_a_number_has_four_digits_or_all_before_its_point(value: float, text: str) -> None:
    assert number(value) == text


def test_one_agent_is_no_plural() -> None:
    assert [agents(1), agents(2), agents(0), agents(1024)] == ["1 agent", "2 agents", "0 agents", "1,024 agents"]


def test_rows_that_contradict_their_judgement_are_said_first(copy: Path) -> None:
    stored = msgspec.json.decode((copy / "result.json").read_bytes())
    certifying = next(p for p in stored["phases"] if p["kind"] == "certify")
    certifying["measured_turns"] += 1
    (copy / "result.json").write_bytes(msgspec.json.encode(stored))
    shown = text_of(report(copy)["report.html"])
    assert "DO NOT QUOTE: rows contradict the judgement of 1 of the phases" in shown
    assert f"phase {certifying['index']}: the judgement has measured turns {certifying['measured_turns']}" in shown


def test_the_same_folder_gives_the_same_bytes(run: Path, page: bytes) -> None:
    assert report(run)["report.html"] == page


def test_a_page_needs_no_network_and_runs_nothing(page: bytes) -> None:
    assert len(page) < 3_000_000
    assert not re.findall(rb'(?:src|href)="(?!#)', page)
    assert b"<script" not in page
    assert b"url(" not in page.replace(b"url(#", b"")
    assert b"default-src 'none'" in page
    assert b"unsafe-inline" not in page


def test_a_page_can_be_walked_by_keyboard_and_screen_reader(page: bytes) -> None:
    text = page.decode()
    for mark in (
        '<html lang="en">',
        '<a class="skip" href="#content">',
        '<main id="content"',
        '<nav aria-label="Contents">',
    ):
        assert mark in text
    for tables in (re.findall(r"<table>(.{9})", text),):
        assert tables
        assert set(tables) == {"<caption "[:9]} | {"<caption>"[:9]} & set(tables)
    assert text.count('<figure role="img" aria-label="') == text.count("<figure")
    levels = [int(level) for level in re.findall(r"<h(\d)", text)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels)), "no level is skipped"
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids)), "clipping paths of different pictures too"


def test_each_picture_s_numbers_stand_in_a_table(page: bytes) -> None:
    for section in re.findall(r"<section.*?</section>", page.decode(), re.DOTALL):
        if "<svg" in section:
            assert "<table>" in section, section[:200]


def test_the_headline_says_what_a_number_may_not_be_quoted_without(page: bytes) -> None:
    text = text_of(page)
    assert text.index("Finished and valid: ") < text.index("Agents at once: "), "validity first"
    for words in (
        "self-reported",
        "preliminary",
        "quality unverified",
        "agents/MW (accelerator, measured)",
        "crossing",
    ):
        assert words in text[: text.index("Tier 30/10 Shaded")], words


# -- formats -----------------------------------------------------------------------------------------------------------------


def test_csv_has_a_row_a_tier_and_a_row_a_phase_and_tier(run: Path) -> None:
    stored = msgspec.json.decode((run / "result.json").read_bytes())
    made = {name: list(csv.DictReader(io.StringIO(data.decode()))) for name, data in report(run, "csv").items()}
    assert [row["tier"] for row in made["tiers.csv"]] == ["30/10", "100/5"]
    assert [int(row["agents"]) for row in made["tiers.csv"]] == [tier["agents"] for tier in stored["results"]]
    assert len(made["phases.csv"]) == 2 * len(stored["phases"])
    assert [float(row["ttft_p95_s"]) for row in made["phases.csv"][::2]] == [p["ttft_p95_s"] for p in stored["phases"]]


def test_json_is_the_result_and_the_figures(run: Path) -> None:
    told = msgspec.json.decode(report(run, "json")["report.json"])
    assert told["result"] == msgspec.json.decode((run / "result.json").read_bytes())
    assert len(told["figures"]["phases"]) == len(told["result"]["phases"])
    shown = [p for p in told["figures"]["phases"] if p["detail"]]
    for phase in shown:
        judged = told["result"]["phases"][phase["index"]]
        assert phase["detail"]["ttft_s"]["percentiles"]["p95"] == judged["ttft_p95_s"]
    assert sum(p["detail"]["timeline"] is not None for p in shown) == 3


def test_markdown_has_the_answer_and_whole_tables(run: Path) -> None:
    text = report(run, "md")["report.md"].decode()
    stored = msgspec.json.decode((run / "result.json").read_bytes())
    assert f"{stored['results'][0]['agents']} agents at 30/10" in text
    width = 0
    for line in text.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not cells or not width or cells == width, line
        width = cells
    assert "<svg" not in text


def test_png_is_a_picture(run: Path) -> None:
    assert report(run, "png")["report.png"].startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize(
    ("format", "names"), [("html", {"report.html"}), ("md", {"report.md"}), ("csv", {"tiers.csv", "phases.csv"})]
)
def test_the_command_writes_into_the_run_folder(
    copy: Path, format: str, names: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name for path in copy.iterdir()}
    assert main(["report", str(copy), "--format", format]) == 0
    assert {path.name for path in copy.iterdir()} - before == names
    assert f"written to {copy}" in capsys.readouterr().err


def test_the_command_writes_elsewhere(run: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["report", str(run), "--format", "json", "--out", str(tmp_path / "a" / "b.json")]) == 0
    assert main(["report", str(run), "--format", "json", "--out", "-"]) == 0
    assert (tmp_path / "a" / "b.json").read_bytes() == capfdbinary.readouterr().out
    assert main(["report", str(run), "--format", "csv", "--out", "-"]) == 2
    assert main(["report", str(run), "--format", "csv", "--out", str(tmp_path / "tables")]) == 0
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"tiers.csv", "phases.csv"}


# -- broken folders ----------------------------------------------------------------------------------------------------------


def _phase(run: Path) -> Path:
    return next(path for path in sorted((run / "phases").iterdir()) if path.name.endswith("n0008"))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for i in range(len(data) // 3, 2 * len(data) // 3, 7):
        data[i] ^= 0x55
    path.write_bytes(data)


def _unfinished(run: Path) -> None:
    (run / "result.json").unlink()


def _cut_ledger(run: Path) -> None:
    _unfinished(run)
    path = run / "ledger.jsonl"
    path.write_bytes(path.read_bytes()[:-300])


BREAKAGE = [
    # what is done to the folder, what the report says
    (_unfinished, "NOT FINISHED: there is no result yet"),
    (_cut_ledger, "ledger.jsonl ends in a line that was cut off"),
    (lambda run: (run / "ledger.jsonl").write_bytes(b"{}\nnot json\n"), "ledger.jsonl line 1 is no ledger line and is left out"),
    (lambda run: (run / "ledger.jsonl").unlink(), "ledger.jsonl is missing: the attempts are not known"),
    (lambda run: (_phase(run) / "turns.parquet").unlink(), "turns.parquet cannot be read"),
    (lambda run: (_phase(run) / "turns.parquet").write_bytes(b""), "turns.parquet cannot be read"),
    (lambda run: _flip(_phase(run) / "turns.parquet"), "n0008"),
    (lambda run: _flip(_phase(run) / "client.parquet"), "client.parquet cannot be read"),
    (lambda run: _flip(_phase(run) / "power.parquet"), "power.parquet cannot be read"),
    (lambda run: (_phase(run) / "phase.json").write_bytes(b"{}"), "was not closed"),
    (lambda run: shutil.rmtree(_phase(run)), "is missing: its pictures are left out"),
    (lambda run: shutil.rmtree(run / "phases"), "is missing: its pictures are left out"),
    (lambda run: (run / "result.json").write_bytes(b'{"schema": "openagentperf/result/9"}'), "result.json cannot be used"),
    (lambda run: (run / "result.json").write_bytes(b"\xff" * 99), "result.json cannot be used"),
    (lambda run: (run / "plan.toml").write_bytes(b"[endpoint\n\xff"), "plan.toml cannot be used"),
    (lambda run: (run / "run.json").unlink(), "run.json is missing"),
    (lambda run: (run / "run.json").write_bytes(b'{"lines": []}'), "run.json cannot be used"),
    (lambda run: (run / "corpus.card.json").write_bytes(b"[" * 100_000), "corpus.card.json cannot be used"),
    (lambda run: (run / "environment.json").write_bytes(b'["a"]'), "environment.json cannot be used"),
    (lambda run: (run / "environment.json").write_bytes(b'{"a":' + b"[" * 400 + b"]" * 400 + b"}"), "environment.json cannot be used"),
    (lambda run: (_phase(run) / "phase.json").write_bytes(b"[" * 100_000), "was not closed"),
    (lambda run: (run / "meters.json").write_bytes(b"{"), "meters.json cannot be used"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "says_so"), BREAKAGE, ids=range(len(BREAKAGE)))
def test_a_broken_folder_is_reported_with_what_is_missing(copy: Path, spoil: Any, says_so: str) -> None:
    spoil(copy)
    text = report(copy, "md")["report.md"].decode().replace("\\", "")  # the page's sections, not drawn
    assert says_so in text, text[:1500]
    assert report(copy, "csv")
    told = msgspec.json.decode(report(copy, "json")["report.json"])
    assert told["missing"]


def test_a_folder_with_everything_broken_is_still_a_page(copy: Path) -> None:
    for spoil, _ in BREAKAGE:
        with contextlib.suppress(StopIteration, FileNotFoundError):
            spoil(copy)
    assert "NOT FINISHED" in text_of(report(copy)["report.html"])


@pytest.mark.parametrize("file", ["turns", "client", "power"])
def test_a_page_without_one_kind_of_table(copy: Path, file: str) -> None:
    for path in (copy / "phases").glob(f"*/{file}.parquet"):
        path.write_bytes(b"PAR1")
    text = text_of(report(copy)["report.html"])
    assert f"{file}.parquet cannot be read" in text
    assert "Agents at once: " in text


def test_an_unfinished_run_shows_what_its_ledger_establishes(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", phases=6)
    text = text_of(report(folder)["report.html"])
    assert "NOT FINISHED" in text[:300]
    assert "no figure at 30/10 (unfinished)" in text
    assert "passed so far, not certified 16" in text
    assert "openagentperf run --resume run" in text


def test_an_empty_folder_is_a_run_that_wrote_nothing(tmp_path: Path) -> None:
    assert "the folder is empty" in text_of(report(tmp_path)["report.html"])
    with pytest.raises(UsageError, match="has no judged phase to draw"):
        report(tmp_path, "png")


def _other_files(path: Path) -> None:
    (path / "notes.txt").write_text("x")


def _a_file(path: Path) -> None:
    path.rmdir()
    path.write_text("x")


@pytest.mark.parametrize("make", [_other_files, _a_file, Path.rmdir])
def test_what_is_no_run_is_a_usage_error(tmp_path: Path, make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    make(folder)
    assert main(["report", str(folder)]) == 2
    assert f"error: {folder}: " in capsys.readouterr().err
    assert not (folder / "report.html").exists()


# -- odd runs ----------------------------------------------------------------------------------------------------------------


def _all_fail(columns: Columns, step: Step) -> Columns:
    unseen = ("first_output_ns", "last_output_ns", "output_tokens", "prompt_tokens", "cached_tokens")
    bad = {"failure": "timeout", "status": 0} | dict.fromkeys(unseen, -1)
    return columns | {name: [value] * len(columns["due_ns"]) for name, value in bad.items()}


def _silent_cache(columns: Columns, step: Step) -> Columns:
    return columns | {"cached_tokens": [-1] * len(columns["due_ns"])}


def _three_rows(columns: Columns, step: Step) -> Columns:
    return {name: values[:3] for name, values in columns.items()}


def test_a_phase_that_measured_nothing_has_no_mark(run: Path) -> None:
    opened = open_run(run)
    assert opened.result is not None
    tier, history = opened.result.results[0], list(opened.result.phases)
    history[1] = msgspec.structs.replace(history[1], measured_turns=0, failed_turns=0, ttft_p95_s=None, speed_p25=None)
    history[2] = msgspec.structs.replace(history[2], ttft_p95_s=None)  # measured, and failures push it to infinity
    for field, panel in zip(("ttft_at", "speed"), search_spec(tier, history)["vconcat"], strict=True):
        marks = next(
            layer for layer in panel["layer"] if layer["mark"] == {"type": "point", "filled": True, "opacity": 0.9}
        )
        values = marks["data"]["values"]
        assert len(values) == len(history) - 1
        assert all(point[field] > 0 for point in values)
    assert "(1 measured nothing and have no mark)" in described(tier, history)
    assert "measured nothing" not in described(tier, opened.result.phases)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_all_fail, ["0 agents at 30/10 (unmet)", "timeout", "infinite"]),
        (_silent_cache, ["cache unverified", "The server does not report cached tokens, so only the bound is known."]),
        (_three_rows, ["invalid"]),
    ],
    ids=["all fail", "silent cache", "three rows"],
)  # fmt: skip
def test_odd_runs_are_reported(tmp_path: Path, change: Any, words: list[str]) -> None:
    folder = make_run(tmp_path / "run", turns=200, change=change)
    for format in ("html", "md", "csv", "json", "png"):
        made = report(folder, format)
        assert all(made.values())
    text = text_of(report(folder)["report.html"])
    for word in words:
        assert word in text, word


def test_a_run_without_meters_and_failures_says_so(tmp_path: Path) -> None:
    text = text_of(report(make_run(tmp_path / "run", plan_of(power=False, limit=4)))["report.html"])
    assert "No agents/MW: no power meter was read" in text
    assert "No measured turn failed." in text
    assert "at least 4 agents at 30/10 (at least)" in text


# -- hostile content ---------------------------------------------------------------------------------------------------------


def hostile_run(folder: Path, word: str) -> Path:
    """A run in which every text that comes from outside is `word`."""
    tiers = TierSet(
        name=word, tier=(Tier(name=word, output_speed=30, ttft_s=10), Tier(name="b", output_speed=100, ttft_s=5))
    )
    make_run(folder, plan_of(tiers=tiers, limit=8), knee=5.0, turns=120, detail=word)
    for name in ("run.json", "environment.json", "corpus.card.json", "meters.json"):
        record = msgspec.json.decode((folder / name).read_bytes())
        (folder / name).write_bytes(msgspec.json.encode(_everywhere(record, word)))
    result = msgspec.json.decode((folder / "result.json").read_bytes())
    result |= {"notes": [word], "version": word, "corpus_digest": word, "rigor": word}
    for judged in result["phases"]:
        for verdict in judged["verdicts"]:
            verdict["reasons"] = [word] if verdict["reasons"] else []
    (folder / "result.json").write_bytes(msgspec.json.encode(result))
    return folder


_KEPT = {"target", "boundary", "basis", "status", "schema", "quantity"}


def _everywhere(value: Any, word: str, name: str = "") -> Any:
    if isinstance(value, dict):
        texts = {key: _everywhere(item, word, key) for key, item in value.items()}
        if name in ("languages", "formats", "licences"):
            texts |= {word: 0.5}
        return texts
    if isinstance(value, list):
        return [_everywhere(item, word, name) for item in value]
    return word if isinstance(value, str) and name not in _KEPT else value


@pytest.mark.parametrize(
    "word", [HOSTILE, "\u202e\u2066\U0001f600\ufffe" * 9, "x" * 1_000_000], ids=["html", "marks", "long"]
)
def test_hostile_texts_stay_texts(tmp_path: Path, word: str) -> None:
    folder = hostile_run(tmp_path / "run", word)
    page = report(folder)["report.html"]
    assert b"<script" not in page
    assert b"\x1b" not in page
    assert not set("\u202e\u2066\ufffe") & set(page.decode())
    assert len(page) < 3_000_000
    if word is HOSTILE:
        assert b"&lt;script&gt;window.scripted=1&lt;/script&gt;" in page, "escaped, not dropped"
    for format in ("md", "csv", "json", "png"):
        made: dict[str, bytes] = report(folder, _format(format))
        assert all(made.values())
    text = report(folder, "md")["report.md"].decode()
    outside = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)  # in a fence all is text
    assert len(outside) > len(text) / 2
    assert not re.search(r"(?<!\\)<script", outside)
    assert not re.search(r"@\w|www\.x|GH-\d|#\d|://", outside.replace("\\", "")), "no mention, link or reference"


def _format(name: str) -> Format:
    formats: dict[str, Format] = {"md": "md", "csv": "csv", "json": "json", "png": "png"}
    return formats[name]


def test_a_version_from_outside_is_one_word_of_a_shell(copy: Path) -> None:
    record = msgspec.json.decode((copy / "result.json").read_bytes())
    version = "1'; touch stolen; echo '"
    (copy / "result.json").write_bytes(msgspec.json.encode(record | {"version": version}))
    run = open_run(copy)
    (section,) = background.again(run, run.result, None)
    (line,) = [line for line in section.code.splitlines() if line.startswith("pip install ")]
    assert shlex.split(line) == ["pip", "install", f"openagentperf[report]=={version}"]


def test_a_cell_is_no_formula(tmp_path: Path) -> None:
    folder = hostile_run(tmp_path / "run", "=HYPERLINK(1)")
    for data in report(folder, "csv").values():
        for row in csv.reader(io.StringIO(data.decode())):
            assert not [cell for cell in row if cell[:1] == "="]


def test_reading_a_run_leaves_it_as_it_was(copy: Path) -> None:
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    report(copy)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    assert verify.derive(copy) == rundir.read_record(copy / "result.json", type(verify.derive(copy)), "", "")

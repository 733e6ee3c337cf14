"""The dashboard in a real browser, over real runs and over folders that mean harm."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from msgspec.structs import replace

from browsing import SCHEMES, WIDTHS, Page, browser
from openagentperf.plan import Tier, TierSet
from openagentperf.records.power import DeviceFacts
from phases import ns
from run_folders import write_run
from small_runs import COMMAND, PATIENCE_S, await_that, going, ledger, write_plan
from watched import METER, Folder, sample, turn, watt

pytestmark = [pytest.mark.e2e, pytest.mark.beside]


@contextmanager
def serving(runs: Path, *options: str, port: int = 0) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`openagentperf dashboard` over a folder; yields the address that it printed, and the process."""
    command = [*COMMAND, "dashboard", str(runs), "--port", str(port), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("listening on http://"), line
            yield line.removeprefix("listening on ").strip(), process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as found:
        yield found


JUDGED = "document.querySelectorAll('#attempts tbody tr').length"
HEADLINE = "(document.getElementById('headline')?.textContent ?? '')"


def test_the_page_follows_a_run_to_its_end_and_survives_the_server_s(chromium: Any, tmp_path: Path):
    write_plan(
        tmp_path,
        track="exact",
        start=2,
        limit=8,
        search_turns=12,
        search_measure_s=3,
        measure_s=2,
        certify_phases=3,
        limit_s=20,
    )
    runs = tmp_path / "runs"
    runs.mkdir()
    with serving(runs) as (url, process):
        page = Page(chromium)
        page.tab.goto(url)
        page.until("document.body.innerText.includes('No run in this folder yet')")
        with going(tmp_path, "run", "plan.toml"):
            page.until("document.querySelector('.runs a.name')")  # it shows by itself
            page.tab.click(".runs a.name")
            page.until(f"/running: phase \\d, search, \\d agents, measuring/.test({HEADLINE})")
            page.until("Number(document.querySelector('#cards div:nth-child(3) dd span')?.textContent) > 3")
            before = page.text("#cards")
            page.until(f"document.getElementById('cards').innerText !== {before!r}")
            page.until("document.querySelectorAll('#phase-now svg path.line').length >= 6")
            assert "modelled" in page.text("#cards"), "power with its boundary and basis"
            assert (page.errors, page.crashes) == ([], [])
            process.kill()  # in the middle of the run
            process.wait()
            page.until("document.getElementById('status').dataset.state === 'lost'")
            shown = page.tab.evaluate(JUDGED)
            port = urlsplit(url).port
            assert port is not None
            with serving(runs, port=port) as (again, _):
                assert again == url
                page.until("document.getElementById('status').dataset.state === 'live'")
                for width, scheme in ((width, scheme) for width in WIDTHS for scheme in SCHEMES):
                    other = Page(chromium, width=width, scheme=scheme)
                    other.tab.goto(page.tab.url)
                    other.until(f"{HEADLINE}.length > 0 && document.querySelectorAll('#search svg').length === 2")
                    other.picture(f"dashboard-live-{width}-{scheme}")
                    assert other.scroll_width <= width
                    assert (other.errors, other.crashes) == ([], [])
                    other.close()
                page.until(f"{HEADLINE}.startsWith('finished: own at least 8')")
                (folder,) = runs.glob("2*")
                judged = [line for line in ledger(folder) if line["event"] == "judged"]
                assert page.tab.evaluate(JUDGED) == len(judged) > shown, "nothing of what happened meanwhile is missing"
                assert page.crashes == []
                after(chromium, again, folder, judged)
        page.close()


def after(chromium: Any, url: str, folder: Path, judged: list[dict[str, Any]]) -> None:
    """A finished run: its figures are the ledger's, a phase opens, report and list lead where they say."""
    for width, scheme in ((1280, "light"), (390, "dark")):
        page = Page(chromium, width=width, scheme=scheme)
        page.tab.goto(f"{url}run/{folder.name}")
        page.until("document.querySelectorAll('#phase-now svg path.line').length >= 6")
        rows = page.tab.evaluate(
            "[...document.querySelectorAll('#attempts tbody tr')].map((row) => [...row.children].map((cell) => cell.textContent))"
        )
        for row, line in zip(rows, judged, strict=True):
            facts = line["judged"]
            assert row[0] == f"{line['index']} {line['kind']}"
            assert row[1:3] == [str(line["agents"]), f"own {facts['verdicts'][0]['verdict']}"]
            assert float(row[3].removesuffix(" s")) == float(f"{facts['ttft_p95_s']:.3g}")
            assert row[6:8] == [str(facts["measured_turns"]), str(facts["failed_turns"])]
        page.tab.get_by_role("button", name="show phase 1").click()
        page.until("document.querySelector('#phase-now h2').textContent.startsWith('Phase 1, search')")
        page.until(
            f"document.querySelector('#phase-now .note').textContent.includes('{judged[1]['judged']['measured_turns']} measured turns')"
        )
        page.picture(f"dashboard-finished-{width}-{scheme}")
        assert page.scroll_width <= width
        assert (page.errors, page.crashes) == ([], [])
        page.tab.goto(url)
        page.until("document.querySelector('.runs li')?.innerText.includes('finished')")
        page.picture(f"dashboard-list-{width}-{scheme}")
        assert page.scroll_width <= width
        page.tab.click("text=report")
        page.until("document.querySelector('h1') !== null")
        assert folder.name in page.tab.content()
        assert page.crashes == []
        page.close()


def test_the_page_can_be_used_from_the_keyboard(chromium: Any, tmp_path: Path):
    folder = Folder(tmp_path / "runs" / "one")
    writer = folder.begin(0, 100.0)
    writer.put(turn(103.5, ttft_s=0.4))
    writer.close()
    folder.judge(0, "fail")
    with serving(tmp_path / "runs") as (url, _):
        page = Page(chromium)
        page.tab.goto(f"{url}run/one")
        page.until("document.querySelectorAll('#attempts tbody tr').length === 1")
        seen = []
        for _ in range(14):
            page.tab.keyboard.press("Tab")
            seen.append(
                page.tab.evaluate("document.activeElement.id || document.activeElement.textContent.trim().slice(0, 20)")
            )
        assert seen[0] == "Skip to the figures"
        for wanted in ("home", "report", "tier", "phase", "why", "show"):
            assert wanted in seen
        assert page.tab.evaluate("document.querySelector('[aria-live]').id") == "headline", (
            "and nothing else is read out by itself"
        )
        assert page.tab.locator("[aria-live]").count() == 1
        labels = page.tab.evaluate(
            "[...document.querySelectorAll('[role=img]')].map((one) => one.getAttribute('aria-label'))"
        )
        assert len(labels) == 11
        assert all(label and "undefined" not in label for label in labels)
        assert page.tab.evaluate("[...document.querySelectorAll('table')].every((table) => table.caption?.textContent)")
        page.close()


def test_measured_and_modelled_power_of_one_boundary_stand_side_by_side(chromium: Any, tmp_path: Path):
    folder = Folder(tmp_path / "runs" / "one")
    devices = (DeviceFacts(device="gpu0"),)
    meter = folder.meters(
        replace(METER, devices=devices), replace(METER, name="model", basis="modelled", devices=devices)
    )
    meter.put_all([watt(101.0, 300.0), replace(watt(101.0, 450.0), meter="model")])
    meter.close()
    folder.begin(0, 100.0).close()
    with serving(tmp_path / "runs") as (url, _):
        page = Page(chromium)
        page.tab.goto(f"{url}run/one")
        page.until("document.querySelectorAll('#cards div').length > 1")
        cards = page.tab.evaluate(
            "[...document.querySelectorAll('#cards div')].map("
            "(card) => [card.querySelector('dt').textContent, card.querySelector('dd span').textContent])"
        )
        power = dict(card for card in cards if card[0].startswith("power"))
        assert power == {"power, accelerator, measured": "300 W", "power, accelerator, modelled": "450 W"}
        page.close()


def test_a_phase_that_could_not_be_had_is_said_and_asked_for_again(chromium: Any, tmp_path: Path):
    """Its tables are away, as a disk may be, and come back."""
    run = write_run(tmp_path / "runs" / "one", knee=2)
    tables = max((run / "phases").iterdir())
    away = tables.rename(tmp_path / "away")
    with serving(tmp_path / "runs") as (url, _):
        page = Page(chromium)
        page.tab.goto(f"{url}run/one")
        note = "document.querySelector('#phase-now .note').textContent"
        page.until(f"{note}.includes('cannot be read')")
        away.rename(tables)
        page.until(f"{note}.includes('measured turns')")
        assert page.crashes == []
        page.close()


# -- strings that mean harm --------------------------------------------------------------------------------------------------

SCRIPT = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>"\'>'
TURNED, PAINTED = "\u202eevil\u2066 \u200f", "\x1b[31mred\x1b]0;title\x07"
NAMES = (
    SCRIPT.replace("/", "\u2215"),
    TURNED + "run",
    PAINTED.replace("/", ""),
    "a\nb",
    "n" * 255,
    "..hidden",
    "%2e%2e",
    "a?b#c&d",
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f]")


def test_hostile_names_models_and_errors_stay_text(chromium: Any, tmp_path: Path):
    runs = tmp_path / "runs"
    for number, name in enumerate(NAMES):
        harm(runs / name, number)
    os.makedirs(os.fsencode(runs) + b"/\xff\xfe broken")
    (runs / os.fsdecode(b"\xff\xfe broken") / "ledger.jsonl").write_text("")
    with serving(runs) as (url, _):
        for width in WIDTHS:
            page = Page(chromium, width=width)
            page.tab.goto(url)
            page.until(f"document.querySelectorAll('.runs li').length === {len(NAMES) + 1}")
            check(page, width)
            page.picture(f"dashboard-hostile-list-{width}")
            links = page.tab.evaluate(
                "[...document.querySelectorAll('.runs a.name')].map((link) => link.getAttribute('href'))"
            )
            for k, link in enumerate(links):
                page.tab.goto(url.rstrip("/") + link)
                page.until(
                    "document.getElementById('status').dataset.state === 'live' && document.querySelector('h1').textContent !== 'run'"
                )
                check(page, width)
                if k == len(links) - 1:
                    page.picture(f"dashboard-hostile-run-{width}")
            page.close()


def harm(path: Path, number: int) -> None:
    """A run in which everything that a server or a file can say is hostile; one of them has a model and an error of a megabyte."""
    long = "x" * 1_000_000 if number == 0 else ""
    folder = Folder(path, model=SCRIPT + TURNED + PAINTED + long, tier=f"{SCRIPT}{TURNED}")
    folder.begin(0, 100.0).close()
    folder.judge(0, "fail")
    writer = folder.begin(1, 120.0, why=SCRIPT + PAINTED + long)
    writer.put(turn(124.0, ttft_s=0.3))
    writer.put(turn(124.5, failure="http", detail=SCRIPT + TURNED + PAINTED + long))
    writer.put(sample(125.0, 3, 4))
    writer.close()
    meter = folder.meters()
    meter.put_all([watt(124.0, 100.0)])
    meter.close()


def check(page: Page, width: int) -> None:
    assert page.scroll_width <= width
    assert page.tab.evaluate("window.harmed") is None
    assert not page.tab.evaluate("document.querySelectorAll('main img, main script').length")
    text = page.tab.evaluate("document.body.textContent")
    assert not CONTROL.search(text)
    assert len(text) < 200_000
    assert (page.errors, page.crashes) == ([], [])


def test_hostile_text_in_a_report_and_a_comparison_is_in_a_sandbox(chromium: Any, tmp_path: Path):
    runs = tmp_path / "runs"
    words = SCRIPT + TURNED + PAINTED
    tiers = TierSet(name=words, tier=(Tier(name=words, output_speed=30, ttft_s=1),))
    for name, knee in (("a", 4.0), ("b", 3.0)):
        write_run(runs / name, tiers=tiers, model=words, detail=words, knee=knee)
    with serving(runs) as (url, _):
        page = Page(chromium)
        for path in ("run/a/report", "compare?run=a&run=b"):
            answer = page.tab.goto(url + path, timeout=120_000)  # it is made first
            assert answer is not None
            assert answer.status == 200, answer.text()[:300]
            assert "sandbox;" in answer.headers["content-security-policy"]
            assert page.tab.evaluate("window.origin") == "null"
            assert "window.harmed=1" in page.text("body"), "it is there, as text"
            assert page.tab.evaluate("window.harmed") is None
            assert page.crashes == []
        page.close()


def test_the_server_ends_at_once_when_told_to_with_pages_open(chromium: Any, tmp_path: Path):
    Folder(tmp_path / "runs" / "one").begin(0, 100.0).close()
    for number in (signal.SIGINT, signal.SIGTERM):
        with serving(tmp_path / "runs") as (url, process):
            page = Page(chromium)
            page.tab.goto(f"{url}run/one")
            page.until("document.getElementById('status').dataset.state === 'live'")
            process.send_signal(number)
            assert process.wait(PATIENCE_S) in (0, 130)
            page.close()


def test_a_run_that_is_removed_is_said_and_its_return_is_seen(chromium: Any, tmp_path: Path):
    folder = Folder(tmp_path / "runs" / "one")
    folder.begin(0, ns(0)).close()
    with serving(tmp_path / "runs") as (url, _):
        page = Page(chromium)
        page.tab.goto(f"{url}run/two")
        page.until("document.getElementById('status').textContent.includes('no such run')")
        Folder(tmp_path / "runs" / "two").begin(0, 100.0).close()
        page.until("document.getElementById('status').dataset.state === 'live'")
        await_that(lambda: page.text("h1") == "two", "the name of the run")
        page.close()

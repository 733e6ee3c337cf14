"""Comparison and site in a real browser, full of strings that were made to script, hide or break them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import browsing
from browsing import Page
from hostile import HOSTILE
from openagentperf import rundir
from openagentperf.leaderboard import bundle
from openagentperf.leaderboard.site import build
from openagentperf.plan import Tier, TierSet
from openagentperf.report.compare import Comparison, compare
from openagentperf.report.comparepage import comparison_html
from openagentperf.report.comparetext import markdown, text
from openagentperf.report.gfm import code, escape
from openagentperf.system import Price, System
from run_folders import write_run
from small_runs import asked

LONG = HOSTILE + "A" * 1_000_000
TIERS = TierSet(
    name=HOSTILE, tier=(Tier(name=HOSTILE, output_speed=30, ttft_s=1), Tier(name="plain", output_speed=100, ttft_s=0.5))
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs whose every name is hostile, and one of them a million characters long."""
    folder = tmp_path_factory.mktemp("hostile")
    runs = []
    for name, model, knee in (("a&<b>'\"", HOSTILE, 8.0), ("b `|` @root", LONG, 6.0)):
        system = System(name=model, accelerators=4, accelerator=model, price=Price(usd_per_hour=knee))
        run = write_run(folder / name, tiers=TIERS, model=model, knee=knee, system=system, watts=2800, detail=HOSTILE)
        rundir.write(run / "environment.json", msgspec.json.encode({HOSTILE: model, "python": HOSTILE}))
        rundir.write(run / "launch.txt", model.encode())
        runs.append(run)
    return runs[0], runs[1]


@pytest.fixture(scope="module")
def compared(hostile: tuple[Path, Path]) -> Comparison:
    return compare(hostile)


@pytest.fixture(scope="module")
def pages(
    hostile: tuple[Path, Path], compared: Comparison, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    rundir.write(folder / "compare.html", comparison_html(compared))
    bundle.write(hostile[1], folder / "in" / "b <i>|@root.zip")
    (folder / "in" / "<script>window.scripted=1<").mkdir()
    (folder / "in" / "<script>window.scripted=1<" / "result.json").write_text("{")
    (folder / "in" / "linked").symlink_to(hostile[0])  # to a run that holds, and passed over
    bundle.write(hostile[0], folder / "in" / "a.tar.zst")
    heard: list[str] = []
    build(folder / "in", folder / "site", None, 8 << 30, 120, heard.append)
    assert len(heard) == 3
    assert str(folder / "in" / "linked") not in heard, "links are not followed"
    results = sorted((folder / "site" / "results").iterdir())
    assert len(results) == 2
    return {
        "compare": folder / "compare.html",
        "index": folder / "site" / "index.html",
        "result": results[0],
        "other": results[1],
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing.browser() as found:
        yield found


@pytest.mark.parametrize("name", ["compare", "index", "result", "other"])
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_nothing_scripts_fetches_or_breaks_a_page(
    browser: Any, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    shown = Page(browser, width=width, scheme="dark" if dark else "light")
    shown.show(pages[name])
    assert shown.tab.evaluate("window.scripted") is None
    assert (
        shown.tab.evaluate(
            "document.querySelectorAll('img, iframe, object, script:not(body > script:last-child)').length"
        )
        == 0
    )
    assert shown.scroll_width <= width
    assert shown.tab.evaluate("document.body.innerText").count("window.scripted=1") > 0, "shown as text"
    assert pages[name].stat().st_size < 3_000_000
    shown.close()


def test_tables_are_sorted_by_their_heads(browser: Any, pages: dict[str, Path]) -> None:
    shown = Page(browser)
    shown.show(pages["index"])
    table = shown.tab.locator("table.sortable").first
    column = table.locator("thead th").all_inner_texts().index("agents")

    def agents() -> list[str]:
        return [row.locator("td, th").nth(column).inner_text() for row in table.locator("tbody tr").all()]

    assert agents() == ["8", "6"]
    button = table.locator("thead th").nth(column).locator("button")
    for key, order, sorted_ in (("Enter", "descending", ["8", "6"]), (" ", "ascending", ["6", "8"])):
        button.focus()
        shown.tab.keyboard.press(key)
        assert agents() == sorted_
        assert table.locator("thead th").nth(column).get_attribute("aria-sort") == order
    shown.check_quiet()
    shown.close()


def test_a_page_without_its_script_is_whole(browser: Any, pages: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["index"].as_uri())
    assert page.locator("table.sortable tbody tr").count() == 4  # two results at two tiers
    assert page.locator("th button").count() == 0
    context.close()


@pytest.mark.parametrize("name", ["compare", "index", "result"])
def test_a_page_is_built_for_a_keyboard_and_a_screen_reader(browser: Any, pages: dict[str, Path], name: str) -> None:
    shown = Page(browser)
    shown.show(pages[name])
    page = shown.tab
    assert page.locator("html[lang]").count() == 1
    assert page.locator("main").count() == 1
    assert page.locator("h1").count() == 1
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("figure:not([aria-label])").count() == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    shown.close()


def test_text_of_a_hostile_run_is_80_columns_of_visible_characters(compared: Comparison) -> None:
    told = text(compared)
    assert all(character.isprintable() or character == "\n" for character in told)
    assert max(map(len, told.splitlines())) <= 80
    assert len(told) < 50_000


def test_a_terminal_is_not_obeyed(hostile: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for command in (("verify", str(hostile[0])), ("compare", *map(str, hostile))):
        ended = asked(capsys, *command)
        assert ended.status == 0
        assert "\x1b" not in ended.out + ended.err
        assert "\x00" not in ended.out + ended.err


def test_markdown_opens_no_tag_and_breaks_no_table(compared: Comparison) -> None:
    """Rendered by a CommonMark parser with tables, strikethrough and raw HTML allowed."""
    from markdown_it import MarkdownIt

    told = markdown(compared)
    assert len(told) < 60_000
    page = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(told)
    tags = set(re.findall(r"</?([a-zA-Z][\w-]*)", page))
    assert tags <= {
        "h3",
        "p",
        "ul",
        "li",
        "strong",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "code",
        "details",
        "summary",
        "sub",
    }
    rows = [re.findall(r"<t[hd]", row) for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL)]
    assert {len(row) for row in rows} <= {4, 7}
    assert len(rows) > 30
    assert not re.search(r"(?<!\w)@\w", re.sub(r"<code>.*?</code>", "", page, flags=re.DOTALL)), "nobody is called"


def test_a_comment_is_never_too_long_for_github(compared: Comparison) -> None:
    for times in (20, 60):
        told = markdown(msgspec.structs.replace(compared, pairs=compared.pairs * times))
        assert len(told) < 65_536
        assert told.count("###") == times
        assert "Too long for a comment" in told


@pytest.mark.parametrize(
    ("words", "want"),
    [
        ("a|b", r"a\|b"),
        ("<b>&", "\\<b&gt;&amp;".replace("\\<", "&lt;")),
        ("@root said #12", "@\u200broot said \\#\u200b12"),
        ("https://x.example", "https:\u200b//x.example"),
        ("www.x.example and GH-12", "www\u200b.x.example and GH\u200b-12"),
        ("line\nline", "line line"),
        ("[a](b) `c` *d* _e_ ~f~ $g$", "\\[a\\](b) \\`c\\` \\*d\\* \\_e\\_ \\~f\\~ \\$g\\$"),
    ],
)
def test_a_sentence_in_markdown(words: str, want: str) -> None:
    assert escape(words) == want


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("a", "`a`"),
        ("", "` `"),
        ("a`b", "``a`b``"),
        ("`", "`` ` ``"),
        ("a|b", r"`a\|b`"),
        (r"a\|b", r"`a\\\|b`"),
        ("@root <b>", "`@root <b>`"),
    ],
)
def test_a_name_in_markdown(name: str, want: str) -> None:
    assert code(name) == want

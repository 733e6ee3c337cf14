"""The report in a real browser: nothing scripts it, breaks it, or makes it wider than its window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import browsing
from benchmarks.runfolder import make_run
from browsing import Page
from hostile import HOSTILE
from openagentperf.report.make import report
from test_report import hostile_run

LONG = "w" * 1_000_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing.browser() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    runs = {
        "plain": make_run(folder / "plain"),
        "hostile": hostile_run(folder / "hostile", HOSTILE),
        "long": hostile_run(folder / "long", LONG),
        "unfinished": make_run(folder / "unfinished", phases=3),
    }
    for name, run in runs.items():
        (folder / f"{name}.html").write_bytes(report(run)["report.html"])
    return {name: folder / f"{name}.html" for name in runs}


@pytest.mark.parametrize("width", browsing.WIDTHS)
@pytest.mark.parametrize("name", ["plain", "hostile", "long", "unfinished"])
def test_a_page_is_quiet_and_as_wide_as_its_window(browser: Any, pages: dict[str, Path], name: str, width: int) -> None:
    page = Page(browser, width=width)
    page.show(pages[name])
    tab = page.tab
    assert tab.evaluate("document.scripts.length") == 0
    assert page.scroll_width <= width
    for unfolded in (False, True):
        tab.evaluate("open => document.querySelectorAll('details').forEach(d => d.open = open)", unfolded)
        outside = tab.evaluate(
            """width => [...document.querySelectorAll('h1,h2,h3,h4,p,li,figure,.scroll,pre,dl')]
                .filter(e => e.getBoundingClientRect().right > width + 1).map(e => e.outerHTML.slice(0, 80))""",
            width,
        )
        assert outside == []
    page.check_quiet()
    page.close()


def test_every_picture_has_marks_and_its_words_do_not_overlap(browser: Any, pages: dict[str, Path]) -> None:
    """Words of an axis, a legend or a rule that lie on one another cannot be read; a picture without a mark shows nothing."""
    page = Page(browser)
    page.show(pages["plain"])
    tab = page.tab
    assert tab.evaluate("document.querySelectorAll('figure svg').length") > 15
    assert tab.evaluate(
        """[...document.querySelectorAll('figure')].filter(f => !f.querySelector('.mark-symbol path, .mark-line path, .mark-rect path'))
            .map(f => f.getAttribute('aria-label'))"""
    ) == []  # fmt: skip
    overlapping = tab.evaluate(
        """() => [...document.querySelectorAll('figure svg')].flatMap(svg => {
            const boxes = [...svg.querySelectorAll('text')]  // a word's halo is a text with a stroke
                .filter(t => t.getAttribute('opacity') !== '0' && t.textContent && !t.getAttribute('stroke'))
                .map(t => [t.textContent, t.getBoundingClientRect()]);
            const found = [];
            boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
                const w = Math.min(p.right, q.right) - Math.max(p.left, q.left), h = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
                if (w > 2 && h > 3) found.push(a + ' / ' + b);
            }));
            return found;
        })"""
    )  # fmt: skip
    assert overlapping == []
    cut = tab.evaluate(
        """() => [...document.querySelectorAll('figure svg text')].filter(t => t.textContent && t.getAttribute('opacity') !== '0')
            .filter(t => { const a = t.getBoundingClientRect(), b = t.closest('svg').getBoundingClientRect();
                return a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1 || a.bottom > b.bottom + 1; })
            .map(t => t.textContent)"""
    )
    assert cut == []
    page.close()


def test_on_paper_every_table_is_open_and_fits(browser: Any, pages: dict[str, Path]) -> None:
    page = Page(browser, width=718)  # A4 less its margins
    tab = page.tab
    tab.emulate_media(media="print")
    page.show(pages["plain"])
    hidden = tab.evaluate(
        """[...document.querySelectorAll('details table')]
            .filter(t => !t.checkVisibility({contentVisibilityAuto: true})).map(t => t.caption.textContent)"""
    )
    assert hidden == []
    cut = tab.evaluate(
        """[...document.querySelectorAll('table, pre, svg')].filter(e => e.getBoundingClientRect().right > 719)
            .map(e => e.closest('section').querySelector('h3').textContent)"""
    )
    assert cut == []
    page.close()


def test_the_keyboard_reaches_the_content_and_every_table(browser: Any, pages: dict[str, Path]) -> None:
    page = Page(browser)
    page.show(pages["plain"])
    tab = page.tab
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert tab.evaluate("document.activeElement.getBoundingClientRect().left") >= 0, "seen while it has the focus"
    tab.keyboard.press("Enter")
    assert tab.evaluate("location.hash") == "#content"
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.querySelector('main').contains(document.activeElement)")
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", "the focus is visible"
    page.close()

"""The card as a page: every figure of it is the card's, nothing in it can script, disguise or fetch."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from hostile import HOSTILE
from openagentperf.cli.main import main
from openagentperf.corpus.card import card
from openagentperf.corpus.published import output_ks
from openagentperf.corpusjobs.store import write_set
from openagentperf.records.card import Card
from openagentperf.report.cardpage import card_html
from openagentperf.report.charts import shares
from openagentperf.report.page import Section, clean, html
from trajectories import session


class Cells(HTMLParser):
    """The rows of every table, as text; and every tag and attribute seen."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self._in_cell = False
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag == "tr":
            self.rows.append([])
        self._in_cell = tag in ("td", "th")
        if self._in_cell:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data


def made(**changes: object) -> Card:
    return msgspec.structs.replace(card([session(f"s{n}", turns=3 + n) for n in range(4)]), **changes)


def test_the_page_shows_the_card_s_figures() -> None:
    shown = made()
    cells = Cells(card_html(shown, "mine"))
    rows = {row[0]: row[1:] for row in cells.rows}
    assert rows["input, mean"][0] == f"{shown.input_tokens.mean:,.0f} tokens"
    assert rows["turns, most"] == ["6", "200", "0.03", f"{abs(math.log(6 / 200)):.2f}"]
    assert [row[1] for row in cells.rows if row[0] == "turns per trajectory"] == ["P5"]
    assert rows["languages"][1] == "12"
    assert len(re.findall(rb"<svg", card_html(shown, "mine"))) == 1 + len(shown.curves)


def test_hostile_names_stay_text_and_nothing_is_fetched() -> None:
    page = card_html(made(languages={HOSTILE: 0.5, "x" * 100_000: 0.5}, formats={HOSTILE: 1.0}), HOSTILE, (HOSTILE,))
    cells = Cells(page)
    assert "script" not in cells.tags
    assert not {name for name, _ in cells.attributes if name.startswith("on")}
    assert not {
        value for name, value in cells.attributes if name in ("src", "href", "xlink:href") and value != "#content"
    }
    assert b"\x1b" not in page
    assert "\u202e" not in page.decode()
    assert b"default-src 'none'" in page
    assert b"url(" not in page.replace(b"url(#", b"")
    assert any("<script>window.scripted=1</script>" in row[0] for row in cells.rows), "escaped, not dropped"
    assert len(page) < 1_000_000


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("plain\nline", "plain\nline"),
        ("a\u2066b\u200fc\x00d", "a\ufffdb\ufffdc\ufffdd"),
        ("\ud800", "\ufffd"),
        ("y" * 2_001, "y" * 2_000 + " ... (2,001 characters)"),
    ],
)
def test_text_shows_as_what_it_is(text: str, want: str) -> None:
    assert clean(text) == want


@pytest.mark.parametrize("first", [0, 0x60, 0x2000, 0xD7F0, 0xFFF0, 0x1F600])
def test_a_bar_may_have_any_name(first: int) -> None:
    for start in range(first, first + 32, 8):
        assert "<svg" in shares({"".join(map(chr, range(start, start + 8))) * 8: 1.0}, "of all")


def test_sections_without_a_picture_or_a_table_are_just_text() -> None:
    assert b"<svg" not in html("t", "l", [Section(title="a & b")])
    assert b"a &amp; b" in html("t", "l", [Section(title="a & b")])


def test_the_distance_of_an_output_distribution_from_the_published_law() -> None:
    import numpy as np

    # All outputs at the law's median: half of the law lies below, so the functions differ by 0.5 there.
    assert output_ks(np.array([150] * 9)) == pytest.approx(0.5)
    # At the law's own percentiles 0.5 %, 1.5 %, ... a step of 1 % stands around each: they differ by half a step.
    from statistics import NormalDist

    law = NormalDist(math.log(150), 1.57)
    values = [math.exp(law.inv_cdf((n + 0.5) / 100)) for n in range(100)]
    assert output_ks(np.array(values)) == pytest.approx(0.005, abs=1e-9)


def test_a_set_is_as_near_as_its_farthest_figure() -> None:
    shown = made()
    distances = {row.figure: row.distance for row in shown.published}
    assert distances["turns, most"] == pytest.approx(math.log(200 / 6))
    assert distances["languages"] is None
    assert shown.farthest is None, "a figure that the set does not say is not near"


def test_the_command_writes_the_page(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_set(tmp_path / "set", [session()])
    assert main(["corpus", "card", str(tmp_path / "set"), "--html", str(tmp_path / "card.html"), "--json"]) == 0
    assert msgspec.json.decode(capfd.readouterr().out)["card"]["turns"] == 4
    assert (tmp_path / "card.html").read_bytes().startswith(b"<!doctype html>")

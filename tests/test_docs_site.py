"""The docs site builds, asks no other host for anything, holds every page, and its reference is what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return out


def test_every_page_is_in_the_site_and_in_its_menu(site: Path):
    menu = (ROOT / "mkdocs.yml").read_text()
    pages = [path.relative_to(ROOT / "docs") for path in sorted((ROOT / "docs").rglob("*.md"))]
    assert len(pages) >= 15
    for page in pages:
        made = site / ("index.html" if page.name == "index.md" else f"{page.with_suffix('')}/index.html")
        assert made.exists(), page
        assert f" {page}\n" in menu, f"{page} stands in no menu of mkdocs.yml"


def test_no_page_loads_anything_from_elsewhere(site: Path):
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]+src=[\"']?(?:https?:)?//|<link(?![^>]+canonical)[^>]+href=[\"']?(?:https?:)?//"
    )
    found = [str(page.relative_to(site)) for page in site.rglob("*.html") if loads.search(page.read_text())]
    assert found == []


def test_the_reference_is_what_the_code_says():
    done = subprocess.run(
        [sys.executable, "scripts/reference.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")

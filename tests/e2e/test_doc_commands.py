"""Every command that a page shows is run, in the page's order, in a place where it can be (doc_world)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from doc_world import ROOT, finished_run, world
from test_docs import PAGES, commands

pytestmark = [pytest.mark.e2e, pytest.mark.beside]
IN_CI = {"README.md"}
"""The others are run by the slow suite."""
EXPECTED = {
    "power probe": (0, 5),  # a machine without meters has nothing to probe
    "selfcheck": (0, 4),  # a machine that runs other tests beside this may be exact at no level
    "score runs/20261122-101500-1a2b3c4d --tiers aa-gpt-oss-120b": (3,),  # which ask for up to 2,000 tokens/s
    "compare runs/20261122-101500-1a2b3c4d runs/20261123-101500-1a2b3c4d --gate": (
        6,
    ),  # both passed at their search limit
    "verify result.tar.zst --state verified": (2,),  # nobody has run it again
    "simulate --system gb300-nvl72 --model deepseek-v4-pro --silicon": (
        2,
    ),  # the tables are NVIDIA's, and are not there
    "simulate --system": (0, 3),  # a tier of 180 tokens/s is more than one GB300 rack gives one agent
    "run examples/": (0, 3),  # their tiers ask for more than the node makes: 100 tokens/s
    "corpus fetch swe-agent --out swe-agent --limit 500": (
        2,
    ),  # it asks whether one agrees to the licence, and nobody is there
}
"""By how a command begins; 0 where it does not stand here."""
ENGINES = ("vllm serve", "python -m sglang.launch_server", "llama-server", "trtllm-serve")
"""Of the server's host: no command of ours."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("run"))


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def with_commands(*, in_ci: bool) -> list[str]:
    shown = [name(page) for page in PAGES if list(commands(page.read_text()))]
    return [page for page in shown if (page in IN_CI) is in_ci]


@pytest.mark.parametrize("page", with_commands(in_ci=True))
def test_the_commands_of_the_first_pages_run(page: str, run: Path, tmp_path: Path):
    run_page(page, run, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", with_commands(in_ci=False))
def test_the_commands_of_every_page_run(page: str, run: Path, tmp_path: Path):
    run_page(page, run, tmp_path)


def run_page(page: str, run: Path, folder: Path) -> None:
    failed: list[str] = []
    with world(folder, run) as place:
        for line in dict.fromkeys(commands((ROOT / page).read_text())):
            ended = place.run(line)
            expected = next((codes for start, codes in EXPECTED.items() if line.startswith(start)), (0,))
            if ended.returncode not in expected:
                failed.append(f"{line}\n  status {ended.returncode}: {(ended.stderr or ended.stdout)[-600:]}")
    assert not failed, "\n".join(failed)


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, content) of each fence."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_what_is_fenced_as_an_engine_s_command_is_one():
    fences = [(name(page), kind, text) for page in PAGES for kind, text in blocks(page.read_text())]
    assert not [fence for fence in fences if fence[1] in ("sh", "bash", "console", "shell")], "indent our own commands"
    howtos = [(page, text) for page, kind, text in fences if kind == "text" and page.startswith("docs/howto")]
    assert len(howtos) >= 4
    assert [page for page, text in howtos if not text.startswith(ENGINES)] == []


def test_every_make_target_and_benchmark_that_a_page_names_is_there():
    for page in PAGES:
        text = page.read_text()
        for target in re.findall(r"^    make ([a-z]+)", text, flags=re.MULTILINE) + re.findall(
            r"`make ([a-z]+)`", text
        ):
            assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False).returncode == 0, (
                target
            )
        for module in re.findall(r"python -m benchmarks\.(\w+)", text):
            assert (ROOT / "benchmarks" / f"{module}.py").exists(), f"{name(page)}: benchmarks.{module}"

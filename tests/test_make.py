"""What `make test` says of its two parts, with a stand-in for Python that ends as pytest would; and what a test skips for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from engines import llama_server

ROOT = Path(__file__).parent.parent
SIDE_BY_SIDE = "--numprocesses"
"""Only the first part has it."""


@pytest.mark.parametrize(
    ("statuses", "args", "ends"),
    [
        ((0, 0), "", 0),
        ((1, 0), "", 2),
        ((0, 1), "", 2),
        ((5, 0), "", 2),  # no test at all where all were asked for
        ((0, 5), "tests/x.py", 0),  # the file has none of the second part
        ((5, 0), "tests/x.py", 0),
        ((5, 5), "-k typo", 2),  # nobody ran anything
        ((0, 1), "tests/x.py", 2),
        ((4, 0), "tests/x.py", 2),  # no such file
    ],
)
def test_a_part_without_tests_is_none_of_make_s_business_where_tests_were_named(
    tmp_path: Path, statuses: tuple[int, int], args: str, ends: int
):
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    first, second = statuses
    python.write_text(f'#!/bin/sh\ncase "$*" in *{SIDE_BY_SIDE}*) exit {first};; *) exit {second};; esac\n')
    python.chmod(0o755)
    (tmp_path / ".installed-dev").touch()
    told = subprocess.run(
        ["make", "--silent", "test", f"VENV={tmp_path}", f"PYTEST_ARGS={args}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == ends, told.stderr


def test_an_engine_without_its_shared_library_is_missing_and_says_what_to_install():
    if why := llama_server.missing():
        pytest.skip(why)
    why = llama_server.missing(openmp="libnobody-has-this.so.1")
    assert why == "llama.cpp's server needs libnobody-has-this.so.1, which is not here: apt-get install libgomp1"

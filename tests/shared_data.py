"""Real recordings beside the checkout: data, not part of this repository. A test that needs them skips where they are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("OPENAGENTPERF_SHARED") or Path(__file__).resolve().parents[2] / "shared")
"""`../shared` from the repository's root, or what OPENAGENTPERF_SHARED names."""


def real(*parts: str) -> Path:
    """The path of `trajectories/<parts>` in there; skips the test where it is not."""
    path = SHARED.joinpath("trajectories", *parts)
    if not path.exists():
        pytest.skip(f"no real recordings at {path}: put them beside the checkout, or set OPENAGENTPERF_SHARED")
    return path

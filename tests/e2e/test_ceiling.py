"""A target that has no limit: the search must end at the client's, say so, and not sell it as the server's."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from openagentperf import __version__
from openagentperf.load import ceiling
from openagentperf.records.ceiling import Ceiling
from openagentperf.sim.spawn import spawned
from small_runs import call, reasons, verdicts, write_plan

pytestmark = [pytest.mark.e2e, pytest.mark.beside]


def test_above_the_known_ceiling_the_search_ends_invalid_and_names_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One agent streams 10 tokens in about 0.1 s and rests 0.03 s: some 75 tokens/s. A host known to be exact up to 200 can judge two
    of them, and not sixteen."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    ceiling.remember(
        Ceiling(
            host=ceiling.host(), workers=1, version=__version__, agents=4, tokens_per_s=200, speed=100, request_bytes=2000
        ),
        searched=True,
    )  # fmt: skip
    write_plan(tmp_path, track="exact", limit=16, search="invalid_repeats = 1", ttft_drift=10)
    with spawned("openagentperf.sim.null", "--ttft-ms", "10", "--jitter-ms", "0", "--interval-ms", "10") as url:
        ended = call(tmp_path, "run", "plan.toml", "--endpoint", url)
    assert ended.status == 4, ended.err
    folder = tmp_path / ended.folder
    found = dict(verdicts(folder))
    assert found[1] == "pass"
    assert found[max(found)] == "invalid"
    assert "the client is the limit at" in reasons(folder)
    assert "this host is known to be exact up to 200" in reasons(folder)
    assert "the client is the limit at" in " ".join(ended.out.split())


def test_without_a_ceiling_the_rows_alone_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    write_plan(tmp_path, track="exact", limit=4, ttft_drift=10)
    with spawned("openagentperf.sim.null", "--ttft-ms", "10", "--jitter-ms", "0", "--interval-ms", "10") as url:
        ended = call(tmp_path, "run", "plan.toml", "--endpoint", url, "--json")
    assert ended.status == 0, ended.err
    (tier,) = msgspec.json.decode(ended.out)["results"]
    assert (tier["standing"], tier["agents"]) == ("at_least", 4)

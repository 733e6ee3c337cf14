"""The dashboard's parts without a server: what an error looks like, what is compressed, who waits for whom, who is watched."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the `dash` extra")

from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.routing import Route

from openagentperf.dash.app import Dashboard, _said
from openagentperf.dash.documents import Documents
from openagentperf.dash.hub import BEAT_S, Busy, Hub
from openagentperf.dash.library import Library
from openagentperf.errors import UsageError
from watched import Folder

PATIENCE_S = 20.0


async def test_a_sentence_comes_as_text_and_not_as_json():
    async def refuses(_request: Any) -> Response:
        raise UsageError('a "plan"', "it's C:\\x\nand é \u202e", "", "")

    answer = await _said(refuses)(None)  # type: ignore[arg-type]
    assert answer.status_code == 422
    assert answer.body.decode() == 'a "plan": it\'s C:\\x\nand é \ufffd\n'


def test_every_answer_but_the_stream_may_be_compressed(tmp_path: Path):
    """A compressor holds events back; whether it leaves this stream alone by itself depends on starlette's version."""
    guard: Any = Dashboard(Library(tmp_path)).app("127.0.0.1", 1, frozenset(), "")
    inner = guard._app
    assert isinstance(inner, Starlette), "nothing lies between: what did would see the stream too"
    zipped = {route.path: isinstance(route.app, GZipMiddleware) for route in inner.routes if isinstance(route, Route)}
    assert [path for path, compressed in zipped.items() if not compressed] == ["/api/runs/{run}/stream"]
    assert not inner.user_middleware


async def test_a_page_that_is_kept_does_not_wait_for_one_that_is_being_made(tmp_path: Path):
    begun, over, made = asyncio.Event(), asyncio.Event(), []

    async def make(what: str, runs: Sequence[Path]) -> bytes:
        made.append((what, *(run.name for run in runs)))
        if what == "compare":
            begun.set()
            await over.wait()
        return what.encode()

    documents = Documents(make)
    assert await documents.report(tmp_path / "a") == b"report"
    slow = asyncio.create_task(documents.comparison([tmp_path / "a", tmp_path / "b"]))
    again = asyncio.create_task(documents.comparison([tmp_path / "a", tmp_path / "b"]))
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    assert await asyncio.wait_for(documents.report(tmp_path / "a"), PATIENCE_S) == b"report"
    over.set()
    assert (await slow, await again) == (b"compare", b"compare")
    assert made == [("report", "a"), ("compare", "a", "b")], "each once"


def test_the_server_does_without_what_draws():
    """It stays small, and a library that ends its process on a text is in another one."""
    program = "import sys, openagentperf.dash.server; print(*sorted(sys.modules))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    drawing = [
        name for name in told.stdout.split() if name.startswith(("openagentperf.report", "jinja2", "vl_convert"))
    ]
    assert drawing == ["openagentperf.report", "openagentperf.report.page"]


async def test_room_for_a_run_is_that_of_the_one_that_nobody_looks_at(tmp_path: Path):
    for name in ("a", "b", "c"):
        Folder(tmp_path / name)
    hub = Hub(Library(tmp_path), most_runs=2)
    a, b, c = (hub.library.find(name) for name in ("a", "b", "c"))
    assert a is not None
    assert b is not None
    assert c is not None
    try:
        first, second = await hub.channel(a), await hub.channel(b)
        with pytest.raises(Busy):
            await hub.channel(c)
        first.used_s -= 3 * BEAT_S  # an open page would have looked since
        await hub.channel(c)
        assert (first.ended, second.ended) == (True, False)
        assert await hub.channel(b) is second
    finally:
        hub.close()


async def test_the_figures_of_many_runs_take_one_look_at_their_folder(tmp_path: Path):
    for number in range(5):
        Folder(tmp_path / f"run-{number}").begin(0, 100.0).close()

    class Counting(Library):
        looked = 0

        def runs(self) -> list[Any]:
            self.looked += 1
            return super().runs()

    library = Counting(tmp_path)
    hub = Hub(library)
    try:
        seen = await hub.live()
    finally:
        hub.close()
    assert len(seen) == 5
    assert library.looked == 1

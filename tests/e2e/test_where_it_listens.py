"""Whole runs against other places than one TCP address: several endpoints, a unix socket; and a host too small for a phase."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import polars as pl
import pytest

from openagentperf import bench
from openagentperf.errors import EndpointError, InfrastructureError, PreflightError
from openagentperf.records.progress import Progress
from small_runs import faulty, plan, write_plan

pytestmark = pytest.mark.e2e


def silent(_: Progress) -> None:
    pass


def all_turns(run: Path) -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in sorted(run.glob("phases/*/turns.parquet")))


def chats(url: str) -> int:
    """How many chat requests a server of sim.faulty has had."""
    with urlopen(url.removesuffix("/v1") + "/chats") as answer:
        return int(answer.read())


@pytest.mark.beside
def test_agents_keep_to_their_endpoint_and_all_are_asked_before(tmp_path: Path):
    with faulty("ok") as one, faulty("ok") as two:
        outcome = bench.run(plan(tmp_path, [one, two], limit=4, start=4), tmp_path / "runs", silent)
        asked = [chats(one), chats(two)]
    facts = json.loads((outcome.folder / "run.json").read_text())
    assert (facts["url"], facts["urls"]) == (one, [one, two])
    said = [check["found"] for check in facts["checks"] if check["name"] == "endpoints"]
    assert said == ["2 endpoints answer alike; agent i speaks to number i modulo 2"]
    turns = all_turns(outcome.folder).filter(pl.col("sent_ns").is_not_null())
    sent = [turns.filter(pl.col("agent") % 2 == k).height for k in (0, 1)]
    probes = [every - of_load for every, of_load in zip(asked, sent, strict=True)]
    assert probes[0] == probes[1] > 0, "each server had the same probes, and the turns of its own agents alone"


@pytest.mark.beside
def test_what_is_wrong_with_one_of_several_is_said_before_any_load(tmp_path: Path):
    with (
        faulty("ok") as one,
        faulty("no-usage") as two,
        pytest.raises(PreflightError, match=f"{two}: the stream carries no token"),
    ):
        bench.run(plan(tmp_path, [one, two]), tmp_path / "runs", silent)


@pytest.mark.beside
def test_one_of_several_that_is_gone_ends_the_run(tmp_path: Path):
    with faulty("ok") as one, ExitStack() as second:
        two = second.enter_context(faulty("ok"))

        def end_it(progress: Progress) -> None:
            if progress.message.startswith("run folder "):
                second.close()

        with pytest.raises(EndpointError, match=re.escape(f"endpoint {two}: accepts no connections any more")):
            bench.run(plan(tmp_path, [one, two]), tmp_path / "runs", end_it)


@contextmanager
def as_unix_socket(url: str, path: Path) -> Iterator[str]:
    """A server's TCP port behind a unix socket, by a relay in a thread of its own."""
    port = urlsplit(url).port
    assert port is not None
    loop, ready = asyncio.new_event_loop(), threading.Event()
    over = asyncio.Event()

    async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def both_ways(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(one_way(reader, up_writer), one_way(up_reader, writer))
        for ended in (writer, up_writer):
            with suppress(OSError):
                await ended.wait_closed()

    async def relay() -> None:
        tasks: set[asyncio.Task[None]] = set()

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(both_ways(reader, writer))
            tasks.add(task)

        async with await asyncio.start_unix_server(accepted, path):
            ready.set()
            await over.wait()
        await asyncio.gather(*tasks)

    thread = threading.Thread(target=loop.run_until_complete, args=(relay(),))
    thread.start()
    ready.wait()
    try:
        yield f"unix:{path}"
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def test_a_run_over_a_unix_socket_is_measured_by_the_program_s_own_clock(tmp_path: Path):
    with faulty("ok") as url, as_unix_socket(url, tmp_path / "engine.sock") as unix:
        outcome = bench.run(plan(tmp_path, unix), tmp_path / "runs", silent)
    assert [tier.agents for tier in outcome.result.results] == [2]
    phases = [json.loads(path.read_text()) for path in outcome.folder.glob("phases/*/phase.json")]
    assert {phase["stamps"] for phase in phases} == {"user"}
    assert all_turns(outcome.folder)["failure"].is_in(["", "aborted"]).all()


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (65, 65))
from openagentperf.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""The command line in a process that may open as many files as one agent needs (budget.SPARE_FILES + 1)."""


@pytest.mark.beside
def test_a_host_too_small_for_a_phase_is_said_before_its_first_byte(tmp_path: Path):
    asked = ["run", str(write_plan(tmp_path)), "--out", str(tmp_path / "runs"), "--no-report", "--plain"]
    with faulty("ok") as url:
        ended = subprocess.run(
            [sys.executable, "-c", LIMITED, *asked, "--endpoint", url], capture_output=True, text=True, check=False, timeout=60
        )  # fmt: skip
    assert ended.returncode == InfrastructureError.exit_code, ended.stderr
    said = "a phase of 2 agents: a process of this host may open 65 files, 2 agents on 1 load worker need 66: raise the hard limit"
    assert said in ended.stderr
    assert "phases of up to 1 agents can be run" in ended.stderr, "said before the first phase too"
    (run,) = (tmp_path / "runs").glob("2*")
    assert [path.name for path in (run / "phases").iterdir()] == ["000-n0001"]

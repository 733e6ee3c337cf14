"""A run that is broken off, by whatever: it ends, takes its processes with it, stays readable, and goes on where it was."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from openagentperf import bench
from openagentperf.cli.display import display
from openagentperf.cli.run import Watch, stops
from openagentperf.records.progress import Progress
from openagentperf.records.result import Result
from openagentperf.records.turns import RawTurn
from openagentperf.rundir import FrameReader, frame_files
from small_runs import (
    COMMAND,
    alive,
    await_that,
    call,
    children,
    faulty,
    going,
    ledger,
    plan,
    reasons,
    said,
    verdicts,
    workers,
    write_corpus,
    write_plan,
)

pytestmark = pytest.mark.e2e


def open_rows(folder: Path) -> list[Path]:
    """Frame files of an open phase that hold something."""
    return [path for path in folder.glob("runs/2*/phases/*/rows-w*.frames") if path.stat().st_size]


def events(folder: Path) -> list[str]:
    return [line["event"] for line in ledger(folder)]


# -- the program is told to end, or ended ------------------------------------------------------------------------------------


@pytest.mark.beside
def test_an_interrupted_run_ends_whole_and_goes_on_at_its_next_phase(tmp_path: Path):
    write_plan(tmp_path, track="exact", start=2, limit=2, search_turns=10, certify_phases=1)
    folder = broken_off(tmp_path, signal.SIGINT, "--workers", "2")
    before = events(folder)
    broken = ledger(folder)[-1]
    rows = [frame for path in frame_files(max((folder / "phases").iterdir())) for frame in FrameReader(path).read()]
    assert any(isinstance(row, RawTurn) for row in rows), "what the broken phase had measured can be read"
    read = bench.score(folder)
    assert (read.exit_code, read.results[0].standing) == (130, "unfinished")
    goes_on(tmp_path, folder)
    after = ledger(folder)
    assert after[len(before) - 1] == broken, "every attempt stands in the ledger"
    assert after[len(before)]["index"] == broken["index"] + 1, "and the broken one is run again under its own number"
    assert after[len(before)]["agents"] == broken["agents"]


@pytest.mark.beside
def test_sigterm_ends_a_run_as_ctrl_c_does(tmp_path: Path):
    write_plan(tmp_path, track="exact", start=2, limit=2, search_turns=30)
    folder = broken_off(tmp_path, signal.SIGTERM, "--workers", "2")
    assert bench.score(folder).exit_code == 130


def broken_off(here: Path, number: signal.Signals, *options: str) -> Path:
    """A run that was told to end while two workers were at it: how it ends, whatever told it. Returns its folder."""
    with going(here, "run", "plan.toml", *options) as process:
        await_that(lambda: len(open_rows(here)) == 2, "both workers have rows")
        started = children(process.pid)
        assert sum("load.worker" in command for command in started.values()) == 2
        assert sum("sim.serve" in command for command in started.values()) == 1
        process.send_signal(number)
        assert process.wait(20) == 130
        await_that(lambda: not any(map(alive, started)), f"the end of {started}")
    last = said(here).splitlines()[-1]
    found = re.fullmatch(r"interrupted: the run so far is in (\S+): openagentperf run --resume \1 goes on", last)
    assert found, said(here)
    folder = here / found[1]
    assert not (folder / "result.json").exists()
    assert events(folder)[-1] == "broken"
    assert events(folder).count("begun") == events(folder).count("judged") + 1
    return folder


def goes_on(here: Path, folder: Path) -> None:
    """Whatever broke a run off is over: it goes on to its end, and its result follows from its rows."""
    again = call(here, "run", "--resume", str(folder))
    assert again.status == 0, again.err
    assert events(folder)[-1] == "finished"
    stored = (folder / "result.json").read_bytes()
    assert msgspec.json.decode(stored, type=Result) == bench.score(folder)


class _Swallows:
    """Is told to end where Python cannot raise: in a destructor."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):  # the handler runs between two bytecodes
            pass


@pytest.mark.beside
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_python_swallows_is_remembered():
    """The destructor's KeyboardInterrupt is printed and forgotten; the run must end all the same."""
    before = signal.getsignal(signal.SIGTERM)
    with stops() as stopped, display(plain=True, stream=io.StringIO()) as shown:
        watch = Watch(shown, None, stopped)
        watch(Progress(stage="preparing"))
        _Swallows()
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            watch(Progress(stage="measure"))
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.beside
def test_a_killed_run_leaves_nobody_behind_and_goes_on(tmp_path: Path):
    """SIGKILL lets nobody tidy up: the workers, the embedded node and the power sampler see their standard input close."""
    write_plan(tmp_path, track="exact", limit=1, certify_phases=1)
    with going(tmp_path, "run", "plan.toml") as process:
        await_that(lambda: open_rows(tmp_path), "a phase with rows")
        started = children(process.pid)
        assert len(started) == 3
        process.kill()
        process.wait()
        await_that(lambda: not any(map(alive, started)), f"the end of {started}")
    folder = next(tmp_path.glob("runs/2*"))
    assert events(folder)[-1] == "begun"
    goes_on(tmp_path, folder)
    assert events(folder).count("begun") == events(folder).count("judged") + 1


@pytest.mark.beside
def test_an_interrupt_before_the_first_phase_has_nothing_to_keep(tmp_path: Path):
    write_plan(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as hung:
        url = f"http://127.0.0.1:{hung.getsockname()[1]}/v1"
        with going(tmp_path, "run", "plan.toml", "--endpoint", url) as process:
            await_that(lambda: f"asking {url}" in said(tmp_path), "the preflight")
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
    assert said(tmp_path).splitlines()[-1] == "interrupted: before the first phase: nothing was measured"
    assert not list(tmp_path.glob("runs/2*"))


@pytest.mark.beside
def test_json_stays_one_object_when_interrupted(tmp_path: Path):
    write_plan(tmp_path, track="exact", search_turns=30)
    command = [*COMMAND, "run", "plan.toml", "--json"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        await_that(lambda: open_rows(tmp_path), "a phase with rows")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    said_object = json.loads(out)
    assert (process.returncode, said_object["exit_code"], said_object["error"]["kind"]) == (130, 130, "Interrupted")


# -- a load worker is killed -------------------------------------------------------------------------------------------------


def test_a_killed_worker_spoils_its_phase_which_is_repeated_with_a_new_one(tmp_path: Path):
    killed: list[int] = []

    def observe(progress: Progress) -> None:
        if progress.phase == 1 and progress.stage == "measure" and not killed:
            killed.extend(workers())
            os.kill(killed[0], signal.SIGKILL)

    with faulty("ok") as url:
        wish = plan(tmp_path, url, limit=2, search_turns=12, search_measure_s=1.2, certify_phases=1)
        outcome = bench.run(wish, tmp_path / "runs", observe)
    assert len(killed) == 1, "else the second phase was over before anybody looked"
    assert verdicts(outcome.folder) == [(1, "pass"), (2, "invalid"), (2, "pass"), (2, "pass")]
    assert f"load worker 0 died (see {outcome.folder}/worker-0.log): the phase cannot be read" in reasons(
        outcome.folder
    )
    assert (outcome.result.exit_code, outcome.result.results[0].agents) == (0, 2)
    spoilt = sorted(outcome.folder.glob("phases/*/turns.parquet"))[1]
    assert spoilt.stat().st_size, "its rows are kept like any other's"
    assert not workers(), "the new worker has ended with the run"


def test_a_worker_that_is_killed_again_and_again_ends_the_run_as_invalid(tmp_path: Path):
    """Three attempts, all of them in the ledger: a repeat is no way to re-roll."""
    killed: set[int] = set()

    def observe(progress: Progress) -> None:
        if progress.stage == "measure":
            for pid in set(workers()) - killed:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)

    with faulty("ok") as url:
        wish = plan(tmp_path, url, limit=1, search_turns=12, search_measure_s=1.2)
        outcome = bench.run(wish, tmp_path / "runs", observe)
    assert len(killed) == 3
    assert verdicts(outcome.folder) == [(1, "invalid")] * 3
    assert outcome.result.exit_code == 4
    found = outcome.result.results[0]
    assert (found.standing, found.agents) == ("invalid", None)
    assert "the search phase at 1 agents was invalid 3 times, last because of: load worker 0 died" in found.why


# -- the disk is full --------------------------------------------------------------------------------------------------------

_WITH_A_LIMIT = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
os.execv(sys.argv[2], sys.argv[2:])
"""


def with_files_up_to(limit_bytes: int) -> tuple[str, ...]:
    """A command before the command: no file may grow beyond the limit, as with a quota."""
    return (sys.executable, "-c", _WITH_A_LIMIT, str(limit_bytes))


@pytest.mark.beside
def test_a_corpus_that_cannot_be_written_stops_before_anything_is_begun(tmp_path: Path):
    write_plan(tmp_path, track="exact")
    ended = call(tmp_path, "run", "plan.toml", before=with_files_up_to(4096))
    assert ended.status == 5
    assert ended.sentence == (
        "runs/corpora: the disk is full (File too large), the run's rows must be kept: "
        "free space or choose another folder with --out; what was written so far is readable"
    )
    assert not list(tmp_path.glob("runs/2*"))
    assert not list(tmp_path.glob("runs/corpora/*")), "the half written file is gone"


@pytest.mark.beside
def test_rows_that_cannot_be_written_break_the_phase_off_and_nothing_before_is_lost(tmp_path: Path):
    """The first phase fits; one that needs 30 rows of 2.8 KB does not fit in 60 KB."""
    write_plan(tmp_path, track="exact", limit=1, certify_phases=1, certify_turns=30, limit_s=20)
    ended = call(tmp_path, "run", "plan.toml", before=with_files_up_to(60_000))
    assert ended.status == 5
    folder = tmp_path / ended.folder
    assert re.match(r"runs/\S+/phases/001-n0001/rows-w0.frames: the disk is full \(File too large\)", ended.sentence)
    assert verdicts(folder) == [(1, "pass")]
    assert events(folder)[-1] == "broken"
    frames = list(FrameReader(folder / "phases/001-n0001/rows-w0.frames").read())
    assert len(frames) > 10, "up to the last whole row"
    assert bench.score(folder).exit_code == 130
    goes_on(tmp_path, folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """1 MB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    with suppress(FileNotFoundError):
        if os.geteuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0:
            yield disk
            subprocess.run(["umount", "-l", str(disk)], check=True)
            return
    pytest.skip("a full file system needs a mount of its own, and this process may not mount one")


@pytest.mark.beside
def test_a_disk_that_fills_up_breaks_the_phase_off_and_the_run_goes_on_with_room(tmp_path: Path, small_disk: Path):
    write_plan(tmp_path, track="exact", limit=1, certify_phases=1, certify_turns=30, limit_s=20)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (844 << 10))  # leaves 180 KB: the first phase needs 120 at most, the second comes to 218
    ended = call(tmp_path, "run", "plan.toml", "--out", str(small_disk / "runs"))
    assert ended.status == 5
    assert "the disk is full (No space left on device)" in ended.sentence
    assert "free space" in ended.sentence
    folder = Path(ended.folder)
    assert verdicts(folder)[:1] == [(1, "pass")]
    assert bench.score(folder).exit_code == 130
    ballast.unlink()
    goes_on(tmp_path, folder)


@pytest.mark.beside
def test_a_folder_that_is_a_file_is_said_in_a_sentence(tmp_path: Path):
    write_corpus(tmp_path)
    write_plan(tmp_path, track="exact")
    (tmp_path / "occupied").write_text("not a folder")
    ended = call(tmp_path, "run", "plan.toml", "--out", "occupied/runs")
    assert ended.status == 5
    assert (
        "cannot be written (Not a directory), a writable folder is needed: choose another with --out" in ended.sentence
    )

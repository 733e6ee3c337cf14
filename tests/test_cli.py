"""The command line end to end, in this process: what goes to stdout and stderr, and with which exit status."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator

from openagentperf import __version__, planfile
from openagentperf.cli.main import main
from openagentperf.cli.preflight import lines
from openagentperf.cli.run import Watch, _interrupted
from openagentperf.records.preflight import Check
from openagentperf.records.progress import Progress
from openagentperf.verify import differing


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(arguments)
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_version(capsys: pytest.CaptureFixture[str]):
    assert call(capsys, "--version") == (0, f"openagentperf {__version__}\n", "")


def test_schema_is_a_json_schema(capsys: pytest.CaptureFixture[str]):
    status, out, err = call(capsys, "schema")
    assert (status, err) == (0, "")
    Draft202012Validator.check_schema(json.loads(out))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--endpiont", "x"], "No such option: --endpiont"),
        (["run", "--seed", "one"], "Invalid value for '--seed'"),
        (["nonsense"], "nonsense"),
        (["score"], "Missing argument"),
        (
            ["run", "nothing.toml"],
            "nothing.toml: cannot be read (No such file or directory), a TOML file was needed: correct the path",
        ),
        (
            ["run", "--tiers", "agentpref"],
            "--tiers: no tiers `agentpref`, a preset or a tiers file was needed: use one of: agentperf, or",
        ),
        (["run", "--track", "natural"], "--track: workload.track is natural and there is no endpoint"),
        (
            ["run", "--resume", "runs/x", "--seed", "3"],
            "--resume: stands beside --seed, a run goes on with the plan that it began with: leave",
        ),
        (["run", "--resume", "no-run"], "no-run/plan.toml: cannot be read"),
        (["preflight", "--rigor", "quik"], "--rigor: no rigor `quik`, a preset was needed: use one of: quick"),
        (["score", "no-run"], "no-run/plan.toml: cannot be read"),
    ],
)
def test_a_misuse_is_one_sentence_on_stderr_and_status_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert says in err
    assert list(tmp_path.iterdir()) == [], "nothing was begun"
    status, out, err = call(capsys, *arguments, "--json")
    said = json.loads(out)
    assert (status, said["exit_code"]) == (2, 2)
    assert set(said["error"]) == {"kind", "where", "found", "needed", "fix"}


def test_an_endpoint_that_is_not_there_is_infrastructure(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    runs = str(tmp_path / "runs")
    status, out, err = call(
        capsys, "run", "--endpoint", "http://127.0.0.1:1/v1", "--out", runs, "--json", "--rigor", "quick"
    )
    said = json.loads(out)
    assert (status, said["exit_code"], said["error"]["kind"]) == (5, 5, "PreflightError")
    assert "127.0.0.1:1" in said["error"]["where"]
    assert said["error"]["fix"]
    assert "error: preflight of http://127.0.0.1:1/v1" in err


@pytest.mark.e2e
def test_preflight_of_the_embedded_target_passes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    status, out, _ = call(capsys, "preflight", "--json")
    said = json.loads(out)
    assert (status, said["ok"]) == (0, True), said
    assert {"reachable", "model", "streaming", "usage", "eos control", "context", "prefix cache"} <= {
        c["name"] for c in said["checks"]
    }


def test_preflight_lines_name_need_and_fix_of_what_failed():
    checks = [
        Check(name="reachable", status="ok", found="http://x answers"),
        Check(name="usage", status="failed", found="no counts", needed="usage in the stream", fix="switch it on"),
    ]
    assert lines(checks) == [
        "ok       reachable: http://x answers",
        "failed   usage: no counts",
        "         needed: usage in the stream",
        "         fix: switch it on",
        "1 of 2 checks failed",
    ]


# --- a whole small run ------------------------------------------------------------------------------------------------------

SMALL = """
[[tiers.tier]]
name = "easy"
output_speed = 0.5
ttft_s = 30
[workload]
trajectories = 8
max_tool_delay_s = 0.1
[search]
limit = 2
[rigor]
preset = "quick"
settle_s = 0.2
search_measure_s = 0.5
measure_s = 0.5
search_turns = 5
certify_turns = 9
limit_s = 15
client_error = 1
"""
"""A tier that nothing misses, and so little load that two agents pass: seconds, and always the same answer."""


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict, str]:
    """`openagentperf run --json` as a user's process: its status, its one JSON object, and its stderr."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "plan.toml").write_text(SMALL)
    done = subprocess.run(
        [sys.executable, "-m", "openagentperf", "run", "plan.toml", "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.stdout, done.stderr
    said = json.loads(done.stdout)
    assert "folder" in said, said
    return done.returncode, said | {"folder": str(folder / said["folder"])}, done.stderr


@pytest.mark.e2e
def test_run_says_one_json_object_and_progress_in_plain_lines(small_run):
    status, said, err = small_run
    assert (status, said["exit_code"]) == (0, 0)
    assert [(t["tier"], t["standing"], t["agents"]) for t in said["results"]] == [("easy", "at_least", 2)]
    assert said["preliminary"] is True
    assert any(note.startswith("tool delays cut to 0.1 s: ") for note in said["notes"]), (
        "two in five of the demo's are longer"
    )
    assert said["rigor"].startswith("quick (changed: ")
    assert "\x1b" not in err
    assert err.count("certify: 2 agents") >= 3
    stored = json.loads(Path(said["folder"], "result.json").read_bytes())
    assert stored == {name: value for name, value in said.items() if name != "folder"}
    assert planfile.read(Path(said["folder"], "plan.toml")).digest == said["plan_digest"]


@pytest.mark.e2e
def test_score_derives_the_same_result(small_run, capsys: pytest.CaptureFixture[str]):
    folder = small_run[1]["folder"]
    status, out, err = call(capsys, "score", folder)
    assert (status, err) == (0, f"identical to {folder}/result.json\n")
    assert "self-reported" in out
    status, out, _ = call(capsys, "score", folder, "--json")
    said = json.loads(out)
    assert (status, said["identical"], said["differences"]) == (0, True, [])


@pytest.mark.e2e
def test_score_says_what_differs(small_run, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    copied = tmp_path / "run"
    subprocess.run(["cp", "-r", small_run[1]["folder"], str(copied)], check=True)
    result = json.loads((copied / "result.json").read_bytes())
    result["results"][0]["agents"] = 200
    (copied / "result.json").write_text(json.dumps(result))
    status, _, err = call(capsys, "score", str(copied))
    assert status == 1
    assert "$.results[0].agents: result.json has 200, the rows give 2" in err


@pytest.mark.e2e
def test_score_by_other_tiers_compares_nothing(small_run, capsys: pytest.CaptureFixture[str]):
    status, out, err = call(capsys, "score", small_run[1]["folder"], "--tiers", "aa-gpt-oss-120b")
    assert "2000/1" in out
    assert err == "not compared: other tiers than the run's own\n"
    assert status in (0, 3, 4, 130)


@pytest.mark.e2e
def test_ctrl_c_keeps_the_run_and_resume_ends_it(tmp_path: Path):
    (tmp_path / "plan.toml").write_text(SMALL)
    command = [sys.executable, "-m", "openagentperf", "run"]
    with subprocess.Popen([*command, "plan.toml"], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as going:
        assert going.stderr is not None
        heard = []
        for line in going.stderr:
            heard.append(line)
            if " search: " in line:  # a phase is open, or has just been judged
                going.send_signal(signal.SIGINT)
                heard += going.stderr.readlines()
        assert going.wait() == 130, heard
    found = re.fullmatch(r"interrupted: the run so far is in (\S+): openagentperf run --resume \1 goes on\n", heard[-1])
    assert found, heard
    assert not (tmp_path / found[1] / "result.json").exists()
    done = subprocess.run(
        [*command, "--resume", found[1], "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    said = json.loads(done.stdout)
    assert (done.returncode, said["folder"], said["results"][0]["agents"]) == (0, found[1], 2), done.stderr
    events = [json.loads(line)["event"] for line in (tmp_path / found[1] / "ledger.jsonl").read_text().splitlines()]
    assert events.count("begun") == events.count("judged") + events.count("broken")
    assert events[-1] == "finished"


@pytest.mark.parametrize(
    ("stored", "derived", "differences"),
    [
        ({"a": [1, {"b": 2.5}]}, {"a": (1, {"b": 2.5})}, []),
        ({"a": 1}, {"a": 1.0}, ["$.a: result.json has 1, the rows give 1.0"]),  # another type is another byte on disk
        ({"a": 0.1}, {"a": 0.1 + 2**-56}, ["$.a: result.json has 0.1, the rows give 0.10000000000000002"]),
        (
            {"a": 1},
            {"b": 1},
            ["$.a: result.json has 1, the rows give '(absent)'", "$.b: result.json has '(absent)', the rows give 1"],
        ),
        ([1], [1, 2], ["$: result.json has [1], the rows give [1, 2]"]),
    ],
)
def test_differences_are_found_to_the_last_bit(stored: object, derived: object, differences: list[str]):
    assert list(differing(stored, derived)) == differences


# --- ways of ending ---------------------------------------------------------------------------------------------------------


class _Shown:
    def __call__(self, progress: Progress) -> None:
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_an_interrupt_names_the_folder_and_the_way_on():
    watch = Watch(_Shown(), None)
    watch(Progress(stage="preparing", message="corpus demo"))
    assert _interrupted(watch.folder).sentence() == "interrupted: before the first phase: nothing was measured"
    watch(Progress(stage="preflight", message="run folder my runs/x"))
    watch(Progress(stage="measure", message=""))
    caught = _interrupted(watch.folder)
    assert (
        caught.sentence()
        == "interrupted: the run so far is in my runs/x: openagentperf run --resume 'my runs/x' goes on"
    )
    assert caught.exit_code == 130


def test_what_nobody_foresaw_is_a_sentence_and_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    plan = tmp_path / "plan.toml"
    plan.write_text("[workload]\n")
    monkeypatch.setattr(planfile, "load", lambda *_: 1 / 0)
    status, out, err = call(capsys, "run", str(plan), "--json")
    assert status == 1
    assert "ZeroDivisionError: division by zero, which nobody foresaw: please report it with " in err
    assert json.loads(out)["error"]["kind"] == "OpenAgentPerfError"
    report = next(tmp_path.glob("openagentperf-*.traceback")).read_text()
    assert report.rstrip().endswith("ZeroDivisionError: division by zero")


def test_a_reader_that_has_gone_is_no_news():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "openagentperf", "schema"], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert done.stderr == ""


def test_help_is_plain_text_and_names_every_command(capsys: pytest.CaptureFixture[str]):
    status, out, _ = call(capsys, "--help")
    assert status == 0
    for command in ("run", "score", "preflight", "target", "schema", "corpus"):
        assert f"\n  {command} " in out
    assert max(map(len, out.splitlines())) <= 80


def test_error_objects_are_json_whatever_is_in_them(capsys: pytest.CaptureFixture[str]):
    status, out, _ = call(capsys, "run", "no\n\x1b[31m.toml", "--json")
    assert status == 2
    assert msgspec.json.decode(out)["error"]["where"] == "no\n\x1b[31m.toml"

"""`openagentperf record` as a process: agents before it, a scripted model behind it, kills, full disks, and what is made of the log."""

from __future__ import annotations

import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from openagentperf.cli.main import main
from openagentperf.corpus.prefix import prove
from openagentperf.corpusjobs.prepare import prepare
from openagentperf.corpusjobs.store import SET_NAME, read_set
from openagentperf.plan import Workload
from openagentperf.recorder.writer import CAPTURE_NAME
from openagentperf.records.trajectory import Trajectory
from openagentperf.sim.spawn import spawned
from openagentperf.units import NS_PER_S
from openagentperf.wire.chatrequest import encode_message
from small_runs import await_that

pytestmark = [pytest.mark.e2e, pytest.mark.beside]

ROOT = Path(__file__).parents[2]
MINI = ROOT / ".venv-agent/bin/mini"
KEY = "sk" + "-proj-a1B2c3D4e5F6g7H8i9J0k1L2m3"
MODEL_S = 2.0
"""What the scripted model takes for an answer to the real agent."""
SLEEPS_S = (0.3, 0.6)
STEPS = [argument for step in (*(f"sleep {s}" for s in SLEEPS_S), "git log") for argument in ("--step", step)]


class Recorder:
    """A running `openagentperf record`."""

    def __init__(self, child: subprocess.Popen[str], port: int) -> None:
        self.child = child
        self.port = port

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str, str]:
        """Status, stdout, stderr."""
        self.child.send_signal(number)
        out, err = self.child.communicate(timeout=60)
        return self.child.returncode, out, err


@contextmanager
def recording(url: str, folder: Path, *options: str, **how: Any) -> Iterator[Recorder]:
    command = [
        sys.executable,
        "-m",
        "openagentperf",
        "record",
        "--upstream",
        url,
        "--out",
        str(folder),
        "--listen",
        "127.0.0.1:0",
        *options,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how) as child:
        assert child.stderr is not None
        try:
            for line in child.stderr:
                if found := re.match(r"listening on http://127\.0\.0\.1:(\d+)", line):
                    break
            else:
                raise AssertionError(f"status {child.wait()}, and it did not listen")
            yield Recorder(child, int(found[1]))
        finally:
            child.kill()


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "openagentperf", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def trajectories(folder: Path) -> list[Trajectory]:
    return list(read_set(folder, []))


BASH = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}


class Agent:
    """A small agent of one API: asks, does what it is told, asks again. Notes when it did what."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.asked_ns: list[int] = []
        self.answered_ns: list[int] = []

    def post(self, path: str, body: dict[str, Any]) -> Any:
        self.asked_ns.append(time.perf_counter_ns())
        self._connection.request(
            "POST", path, json.dumps(body), {"Authorization": f"Bearer {KEY}", "x-session-id": "my-session"}
        )
        response = self._connection.getresponse()
        data = response.read()
        self.answered_ns.append(time.perf_counter_ns())
        assert response.status == 200, data
        return data

    def chat(self) -> None:
        messages: list[dict[str, Any]] = [{"role": "user", "content": f"Key: {KEY}. I am at /home/alice/x."}]
        tools = [{"type": "function", "function": {"name": "bash", "parameters": BASH}}]
        while True:
            body = {
                "model": "m",
                "messages": messages,
                "tools": tools,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            events = [
                json.loads(line[6:])
                for line in self.post("/v1/chat/completions", body).split(b"\n\n")
                if line.startswith(b"data: {")
            ]
            calls = [c for e in events for choice in e["choices"] for c in choice["delta"].get("tool_calls", ())]
            if not calls:
                return
            for call in calls:
                del call["index"]
            messages.append({"role": "assistant", "content": "I will run a command. ", "tool_calls": calls})
            results = [(call["id"], run(call["function"]["arguments"])) for call in calls]
            messages += [{"role": "tool", "tool_call_id": call, "content": result} for call, result in results]

    def messages(self) -> None:
        messages: list[dict[str, Any]] = [{"role": "user", "content": f"Key: {KEY}. I am at /home/alice/x."}]
        tools = [{"name": "bash", "input_schema": BASH}]
        while True:
            body = {"model": "m", "system": "You code.", "messages": messages, "tools": tools, "max_tokens": 99}
            content = json.loads(self.post("/v1/messages", body))["content"]
            calls = [block for block in content if block["type"] == "tool_use"]
            if not calls:
                return
            results = [
                {"type": "tool_result", "tool_use_id": c["id"], "content": run(json.dumps(c["input"]))} for c in calls
            ]
            messages += [{"role": "assistant", "content": content}, {"role": "user", "content": results}]

    def responses(self) -> None:
        items: list[dict[str, Any]] = [{"role": "user", "content": f"Key: {KEY}. I am at /home/alice/x."}]
        tools = [{"type": "function", "name": "bash", "parameters": BASH}]
        while True:
            body = {"model": "m", "instructions": "You code.", "input": items, "tools": tools, "store": False}
            output = json.loads(self.post("/v1/responses", body))["output"]
            calls = [item for item in output if item["type"] == "function_call"]
            if not calls:
                return
            items += output
            items += [
                {"type": "function_call_output", "call_id": c["call_id"], "output": run(c["arguments"])} for c in calls
            ]

    def close(self) -> None:
        self._connection.close()


def run(arguments: str) -> str:
    subprocess.run(["sleep", "0" if "log" in arguments else json.loads(arguments)["command"].split()[1]], check=True)
    return "done"


@pytest.mark.parametrize("api", ["chat", "messages", "responses"])
def test_a_session_of_each_api_becomes_a_set_with_its_tools_true_times(tmp_path: Path, api: str) -> None:
    with spawned("openagentperf.sim.scripted", *STEPS) as url, recording(url, tmp_path) as recorder:
        agent = Agent(recorder.port)
        getattr(agent, api)()
        agent.close()
        status, out, err = recorder.stop()
    assert status == 0, err
    assert "exchanges 4 recorded" in out
    (found,) = trajectories(tmp_path)
    assert [turn.tool_calls for turn in found.turns] == [1, 1, 1, 0]
    assert {turn.counted for turn in found.turns} == {"recorded"}
    assert_between(found, agent)
    assert prove(found, encode_message).breaks == ()
    assert prepare(Workload(corpus=str(tmp_path)), 1, tmp_path / "compiled").card.turns == 4
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert not re.search(rb"alice|my-session|" + KEY[8:].encode(), path.read_bytes()), path


def assert_between(found: Trajectory, agent: Agent) -> None:
    """Each recorded delay holds the agent's own gap and no more than its two requests and that: one host, one monotonic clock."""
    asked, answered = agent.asked_ns, agent.answered_ns
    for k, (turn, _) in enumerate(pairwise(found.turns)):
        assert turn.tool_delay_ns is not None
        gap_ns, span_ns = asked[k + 1] - answered[k], answered[k + 1] - asked[k]
        assert gap_ns <= turn.tool_delay_ns <= span_ns
        if k < len(SLEEPS_S):
            assert turn.tool_delay_ns >= SLEEPS_S[k] * NS_PER_S


def test_what_a_killed_recorder_had_seen_is_on_disk_and_the_next_start_makes_its_set(tmp_path: Path) -> None:
    with spawned("openagentperf.sim.scripted") as url:
        with recording(url, tmp_path) as recorder:
            agent = Agent(recorder.port)
            agent.chat()
            agent.close()
            log = tmp_path / CAPTURE_NAME
            await_that(
                lambda: log.read_bytes().count(b"\n") >= 2, "the exchange's line"
            )  # the first is the recorder's own
            recorder.child.kill()
            recorder.child.communicate()
        assert not (tmp_path / SET_NAME).exists()
        with log.open("ab") as file:
            file.write(b'{"row":"exchange","number":2,"dial')  # what a crash of the writer could have left
        finished = command("record", "--finish", str(tmp_path), "--json")
        assert finished.returncode == 0, finished.stderr
        assert json.loads(finished.stdout)["turns"] == 1
        (tmp_path / SET_NAME).unlink()
        with recording(url, tmp_path) as recorder:
            assert len(trajectories(tmp_path)) == 1, "made at the start"
            agent = Agent(recorder.port)
            agent.messages()
            agent.close()
            status, out, err = recorder.stop(signal.SIGTERM)
    assert status == 0, err
    assert "exchanges 1 recorded" in out
    assert [len(t.turns) for t in trajectories(tmp_path)] == [1, 1], "both recordings, one log"


def test_agents_are_served_though_the_disk_is_full_and_the_end_says_so(tmp_path: Path) -> None:
    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, resource.RLIM_INFINITY))

    with spawned("openagentperf.sim.scripted") as url, recording(url, tmp_path, preexec_fn=small) as recorder:
        for _ in range(8):  # some 600 bytes each
            agent = Agent(recorder.port)
            agent.messages()
            agent.close()
        status, _, err = recorder.stop()
    assert status == 5
    assert "the disk is full" in err
    assert "the agents are served on" in err
    assert 1 <= len(trajectories(tmp_path)) < 8


def test_a_json_report_is_one_object(tmp_path: Path) -> None:
    with (
        spawned("openagentperf.sim.scripted") as url,
        recording(url, tmp_path, "--json", "--format", "messages") as recorder,
    ):
        agent = Agent(recorder.port)
        agent.messages()
        agent.close()
        status, out, _ = recorder.stop()
    report = json.loads(out)
    assert status == 0
    assert report["recorded"]["exchanges"] == 1
    assert report["recorded"]["scrubbed"] == {"home-path": 1, "openai-key": 1}
    assert report["set"]["turns"] == 1


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["--out", "x"], 2, "has no --upstream"),
        (["--upstream", "http://127.0.0.1:1"], 2, "has no --out"),
        (["--upstream", "http://127.0.0.1:1", "--out", "x", "--listen", "8000"], 2, "HOST:PORT was needed"),
        (
            ["--upstream", "http://127.0.0.1:1", "--out", "x", "--no-scrub", "--scrub-rules", "r.toml"],
            2,
            "stands beside --scrub-rules",
        ),
        (["--upstream", "http://127.0.0.1:1", "--out", "x", "--scrub-rules", "absent.toml"], 2, "cannot be read"),
        (["--upstream", "ftp://x", "--out", "x"], 5, "check --upstream"),
        (["--upstream", "http://127.0.0.1:1", "--out", "/proc/x"], 5, "cannot be written"),
        (["--upstream", "http://127.0.0.1:1", "--out", "x", "--listen", "192.0.2.1:80"], 5, "cannot be listened on"),
        (["--finish", "absent"], 2, "cannot be read"),
        (["--finish", "x", "--out", "y"], 2, "give the folder to --finish alone"),
    ],
)
def test_a_wish_that_cannot_be_carried_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    status: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["record", *options]) == status
    assert says in capsys.readouterr().err


def test_a_recorder_of_itself_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    assert main(["record", "--upstream", f"http://{address}", "--out", str(tmp_path), "--listen", address]) == 2
    assert f"is the recorder's own address {address}" in capsys.readouterr().err


@pytest.mark.agent
def test_a_real_agent_s_session_is_recorded(tmp_path: Path) -> None:
    """mini-swe-agent through the proxy against the scripted model: real tool calls in a folder of its own."""
    if not MINI.exists():
        pytest.skip("no agent program at .venv-agent: `make agent` installs mini-swe-agent there")
    work, folder = tmp_path / "work", tmp_path / "set"
    work.mkdir()
    (work / "a.py").write_text("def add(a, b):\n    return a - b\n")
    fix = "sleep 0.8; sed -i 's/a - b/a + b/' a.py; echo fixed"
    script = ["--step", "cat a.py; sleep 0.3", "--step", fix, "--step", "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"]
    slow = ["--ttft-ms", str(MODEL_S * 1e3)]
    with spawned("openagentperf.sim.scripted", *script, *slow) as url, recording(url, folder) as recorder:
        told = [
            "-y", "--exit-immediately", "-t", "Fix add in a.py.", "-m", "openai/scripted", "-c", "mini.yaml", "-c", "agent.cost_limit=0",
            "-c", f"model.model_kwargs.api_base=http://127.0.0.1:{recorder.port}/v1", "-o", str(tmp_path / "own.traj.json"),
        ]  # fmt: skip
        alone = {
            "HOME": str(tmp_path), "PATH": os.environ["PATH"], "OPENAI_API_KEY": KEY, "MSWEA_CONFIGURED": "true", "TERM": "dumb",
            "MSWEA_COST_TRACKING": "ignore_errors", "MSWEA_GLOBAL_CONFIG_DIR": str(tmp_path), "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }  # fmt: skip
        agent = subprocess.run(
            [MINI, *told],
            cwd=work,
            env=alone,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert agent.returncode == 0, agent.stdout[-2000:] + agent.stderr[-2000:]
        status, _, err = recorder.stop()
    assert status == 0, err
    assert "a + b" in (work / "a.py").read_text(), "its tools were real"
    (found,) = trajectories(folder)
    assert [turn.tool_calls for turn in found.turns] == [1, 1, 1]
    assert [[message.role for message in turn.appended] for turn in found.turns] == [
        ["system", "user"],
        *[["assistant", "tool"]] * 2,
    ]
    assert json.loads(found.turns[2].appended[0].tool_calls[0].arguments) == {"command": fix}
    assert "fixed" in found.turns[2].appended[1].content
    # The agent's own note of each tool's time lies in the delay, with the agent's own work around it; the model's time does not.
    for turn, slept_s, own_s in zip(found.turns, (0.3, 0.8), tools_s(tmp_path / "own.traj.json"), strict=False):
        assert turn.tool_delay_ns is not None
        assert slept_s <= own_s <= turn.tool_delay_ns / NS_PER_S < own_s + MODEL_S
    assert prove(found, encode_message).breaks == ()
    prepared = prepare(Workload(corpus=str(folder)), 1, tmp_path / "compiled")
    assert (prepared.card.turns, prepared.skipped) == (3, ())
    assert KEY[8:].encode() not in (folder / CAPTURE_NAME).read_bytes()


def tools_s(path: Path) -> list[float]:
    """Seconds from each answer to its tool's result, as mini-swe-agent notes them itself."""
    messages = json.loads(path.read_text())["messages"]
    at = {role: [m["extra"]["timestamp"] for m in messages if m["role"] == role] for role in ("assistant", "tool")}
    return [done - asked for asked, done in zip(at["assistant"], at["tool"], strict=False)]

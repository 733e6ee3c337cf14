"""A place in which every command of the docs can really be run: a server, a home with sessions, a repository, a finished run.

What a page names by a stand-in (`http://127.0.0.1:8000/v1`, a run of some past day) is replaced by the real thing, and a search that takes
minutes or hours is given a plan of seconds; nothing else of a line is changed.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import polars as pl

from fakehub import hub
from gitrepos import Made
from openagentperf.corpusjobs.store import write_set
from openagentperf.records.phase import PhaseFacts
from openagentperf.sim.spawn import spawned
from small_runs import COMMAND, await_that, call, trajectories, write_plan
from sshkeys import signer_line, write_key

ROOT = Path(__file__).parent.parent
FORMATS = Path(__file__).parent / "data" / "formats"
PATIENCE_S = 240.0
SHORT = """
[rigor]
preset = "quick"
settle_s = 0.2
search_measure_s = 0.5
measure_s = 0.5
search_turns = 5
certify_turns = 9
certify_phases = 1
limit_s = 30
client_error = 1
ttft_drift = 10
"""
TIER = """
[[tiers.tier]]
name = "own"
output_speed = 1
ttft_s = 30
"""
STAYING = {"target", "dashboard"}
"""They serve until they are stopped; so does `record` with an upstream."""
WRITES = {"import", "build", "from-repo", "fetch", "seal", "unseal", "reveal", "keygen"}


class World:
    """One page's folder. `run` runs a line of the page in it."""

    def __init__(self, folder: Path, stack: ExitStack, run: Path, corpora: Path) -> None:
        self.folder = folder
        self.url = stack.enter_context(spawned("openagentperf.sim.serve", "--config", "fast"))
        self._hub = stack.enter_context(hub("nebius/SWE-agent-trajectories", _rows(folder)))[0]
        self._home, self._finished = folder / "home", run
        (folder / "runs").mkdir()
        (folder / "runs" / "corpora").symlink_to(corpora)
        sessions = self._home / ".claude" / "projects" / "app"
        sessions.mkdir(parents=True)
        shutil.copy(FORMATS / "05_claude-code.jsonl", sessions / "session.jsonl")
        write_set(
            folder / "my-corpus",
            [msgspec.structs.replace(t, id=f"session-{k}") for k, t in enumerate(trajectories(20), 1)],
        )
        (folder / "short.toml").write_text(
            f"{TIER}[workload]\ncorpus = 'my-corpus'\nmax_output_tokens = 16\n[search]\nlimit = 2\n{SHORT}"
        )
        for name in ("my-system.toml", "gb300.toml"):
            (folder / name).write_text('name = "two nodes"\naccelerator = "GB300"\naccelerators = 8\n')
        (folder / "rules.toml").write_text('[[token]]\nname = "ticket"\nprefixes = ["TICKET-"]\nleast = 6\n')
        (self._home / ".ssh").mkdir()
        write_key(self._home / ".ssh" / "id_ed25519", "me")
        (folder / "reviewers.txt").write_text(signer_line(write_key(folder / "lab_key", "lab"), "A-lab"))
        (folder / "submissions").mkdir()
        (folder / "examples").mkdir()
        for example in (ROOT / "examples").glob("*.toml"):
            text = re.sub(r'^rigor = "\w+".*$', "", example.read_text(), flags=re.MULTILINE).split("\n[rigor]")[0]
            text = re.sub(r"^(start|limit) = \d+", r"\1 = 2", text, flags=re.MULTILINE)
            text = re.sub(r"http://127\.0\.0\.1:80\d\d/v1", self.url, text).replace('model = "my-model"\n', "")
            (folder / "examples" / example.name).write_text(text + SHORT)

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """`openagentperf LINE`; one that serves is left alone until it listens, used once, and interrupted."""
        words = self._words(line)
        if "--finish" not in words and (words[0] in STAYING or words[0] == "record"):
            return self._serve(words)
        return subprocess.run(
            [*COMMAND, *words], cwd=self.folder, env=self._environment(), capture_output=True, text=True, check=False,
            timeout=PATIENCE_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "HOME": str(self._home),
            "XDG_STATE_HOME": str(self._home / "state"),
            "HF_ENDPOINT": self._hub,
            "HF_HOME": str(self.folder / "hf"),
        }

    def _words(self, line: str) -> list[str]:
        line = line.replace("~/", f"{self._home}/")
        line = re.sub(r"http://(127\.0\.0\.1|HOST):80\d\d/v1", self.url, line)
        line = re.sub(r"https://api\.(openai|anthropic)\.com(/v1)?", self.url, line)
        line = re.sub(r"(--listen 127\.0\.0\.1:|--port )\d+", r"\g<1>0", line)
        line = re.sub(r"runs/2\d{7}-\d{6}-1a2b3c4d", self._past_run(resumed="--resume" in line), line)
        words = shlex.split(line)
        if words[0] in ("run", "preflight") and "--resume" not in words:
            if "--rigor" in words:
                del words[words.index("--rigor") : words.index("--rigor") + 2]
            if len(words) == 1 or not words[1].endswith(".toml"):
                words.insert(1, "short.toml")
        if words[0] == "run":
            words.append("--no-report")  # it takes longer than these runs; e2e/test_drawn.py has one with its report
        if words[0] in ("simulate", "whatif") and "--limit" not in words:
            words += ["--limit", "2", *(() if "--calibrate" in words else ("--max-context", "16384"))]
            words = [word.replace("131072,1048576", "16384,32768") for word in words]  # else a corpus of 1.6 GB
        if words[0] == "simulate":
            words += [option for option in ("--quick", "--no-band") if option not in words]
            words = [word.replace("decode:0@30", "decode:0@2") for word in words]  # within the windows of `--quick`
        if words[0] == "selfcheck" and "--agents" not in words:
            words += ["--agents", "8"]
        if words[0] == "corpus" and words[1] in WRITES and "--out" in words:
            out = self.folder / words[words.index("--out") + 1]
            shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
        if words[:2] == ["corpus", "from-repo"] and not (self._home / "src").exists():
            _repository(self._home / "src" / "project")
        if words[:2] == ["corpus", "seal"]:
            key = next(line for line in (self.folder / "key.txt").read_text().splitlines() if "age1" in line)
            (self.folder / "team-keys.txt").write_text(key[key.index("age1") :].split()[0] + "\n")
        return words

    def _past_run(self, *, resumed: bool) -> str:
        """The run of some past day: finished, or broken off after its last phase; and the log of an analyser that watched it."""
        folder = self.folder / "runs" / "20261122-101500-1a2b3c4d"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._finished, folder)
        if resumed:
            (folder / "result.json").unlink()
            lines = (folder / "ledger.jsonl").read_text().splitlines()
            (folder / "ledger.jsonl").write_text(
                "".join(f"{x}\n" for x in lines if json.loads(x)["event"] != "finished")
            )
        facts = [
            msgspec.json.decode(path.read_bytes(), type=PhaseFacts)
            for path in sorted(folder.glob("phases/*/phase.json"))
        ]
        assert facts[0].wall_offset_ns is not None
        wall_ns = facts[0].wall_offset_ns[0]
        first, last = facts[0].window_start_ns + wall_ns, facts[-1].window_end_ns + wall_ns
        rows = [f"{at / 1e9:.3f},700.0" for at in range(first - 10**9, last + 10**9, 50_000_000)]
        (self.folder / "wt333.csv").write_text("\n".join(["Time,Watts", *rows]) + "\n")
        return str(folder.relative_to(self.folder))

    def _serve(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        log = self.folder / "log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [*COMMAND, *words], cwd=self.folder, env=self._environment() | {"PYTHONUNBUFFERED": "1"}, stdout=output,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            try:
                found = await_that(
                    lambda: re.search(r"http://127\.0\.0\.1:\d+", log.read_text()), f"{words}: {log.read_text()}"
                )
                if words[0] in ("record", "target"):
                    model = words[words.index("--model") + 1] if "--model" in words else "openagentperf-sim"
                    _chat(_listening(log.read_text(), found[0]), model)
                process.send_signal(signal.SIGINT)
                status = process.wait(PATIENCE_S)
            finally:
                process.kill()
                process.wait()
        return subprocess.CompletedProcess(words, status, log.read_text(), "")


def _listening(text: str, otherwise: str) -> str:
    """Where it listens: not the upstream that it names too."""
    found = re.search(r"(?:listen\w*|on|at) (http://127\.0\.0\.1:\d+)", text)
    return found[1] if found else otherwise


def _chat(base: str, model: str) -> None:
    """One turn, so that there is something to record."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "why does it fail " * 400}],
        "max_tokens": 4,
    }
    request = urllib.request.Request(
        f"{base}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


def _repository(path: Path) -> None:
    """As many commits as a page asks sessions of."""
    made = Made(path)
    for k in range(201):
        made.commit(
            f"Mend case {k}",
            {
                "app/core.py": "".join(
                    f"def f{i}(x):\n    return x + {i + k * (i == k % 30)}\n\n\n" for i in range(30)
                ),
                f"tests/test_core{k % 30}.py": f"from app.core import f{k % 30}\n\n\ndef test_f():\n    assert f{k % 30}({k})\n",
            },
        )


def _rows(folder: Path) -> dict[str, bytes]:
    row = json.loads((FORMATS / "20_nebius_swe-agent_row.json").read_text())
    file = folder / "rows.parquet"
    pl.DataFrame([row | {"instance_id": f"owner__repo-{k}"} for k in range(6)]).write_parquet(file)
    card = b"---\nlicense: cc-by-4.0\n---\n# A set\n"
    return {"README.md": card, "data/train-00000-of-00001.parquet": file.read_bytes()}


@contextmanager
def world(folder: Path, run: Path) -> Iterator[World]:
    """Compiled corpora are kept with the finished run: `agentperf` takes ten seconds, and half of the pages use it."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        yield World(folder, stack, run, run.parent / "corpora")


def finished_run(folder: Path) -> Path:
    """A run of seconds on the embedded node."""
    write_plan(folder, track="exact", limit=1)
    ended = call(folder, "run", "plan.toml")
    assert ended.status == 0, ended.err
    return folder / ended.folder

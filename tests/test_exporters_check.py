"""What exporters need is looked for before anything is begun, and not taken into a process that pushes nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

TAKEN = (
    "from openagentperf.live.exporters import taken; import sys; {before}; taken(None, '', True); print(*sys.modules)"
)


def run(before: str = "pass") -> subprocess.CompletedProcess[str]:
    program = TAKEN.format(before=before)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_the_sdk_is_looked_for_and_not_imported():
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the `otel` extra")
    told = run()
    assert told.returncode == 0, told.stderr
    assert not [
        name
        for name in told.stdout.split()
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"))
    ]


def test_without_the_extra_the_option_is_refused():
    told = run("sys.modules['opentelemetry'] = None")  # as Python remembers what it has not found
    assert told.returncode == 1
    assert "UsageError: --otlp: needs opentelemetry.sdk, which is not installed" in told.stderr
    assert "pip install 'openagentperf[otel]'" in told.stderr

"""Live figures as real collectors get them: a Prometheus server that scrapes, and an OTLP receiver that is pushed to."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from engines.prometheus_server import prometheus_server
from openagentperf.live.attached import Attached
from openagentperf.live.exporters import Exporters, taken
from openagentperf.live.watch import RunWatch
from openagentperf.meters.expositions import samples
from small_runs import asked, await_that, call, going, said, write_plan
from watched import Folder, sample, turn

pytestmark = [pytest.mark.e2e, pytest.mark.beside]
MODEL = 'a "model"\\ with\nlines'


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "run", model=MODEL)
    writer = made.begin(0, 100.0)
    writer.put(turn(103.5, ttft_s=0.25))
    writer.put(sample(104.0, in_flight=3, active=4))
    writer.close()
    return made


# -- Prometheus --------------------------------------------------------------------------------------------------------------


def ask(server: str, query: str) -> list[dict[str, Any]]:
    with urlopen(f"{server}/api/v1/query?query={quote(query)}", timeout=20) as answer:
        return json.load(answer)["data"]["result"]


def test_a_prometheus_server_gets_the_figures_with_their_labels(folder: Folder, tmp_path: Path):
    watched = RunWatch(folder.path)
    with Exporters(taken(0, "127.0.0.1", False), False) as exporters:
        exporters.show((watched.poll(),))
        target = exporters.url.removeprefix("http://").removesuffix("/metrics")
        with prometheus_server(target, tmp_path, interval_ms=250) as server:
            found = await_that(lambda: ask(server, "openagentperf_phase_ttft_p95_seconds"), "a scrape")
            assert float(found[0]["value"][1]) == pytest.approx(0.25)
            assert found[0]["metric"]["run"] == "run"
            (info,) = ask(server, "openagentperf_run_info")
            assert info["metric"]["model"] == MODEL
            assert float(ask(server, "openagentperf_phase_requests_in_flight")[0]["value"][1]) == 3
            assert ask(server, "up")[0]["value"][1] == "1"
            (meta,) = json.load(urlopen(f"{server}/api/v1/metadata?metric=openagentperf_phases_judged_total"))[
                "data"
            ].values()
            assert meta[0]["type"] == "counter"
            folder.judge(0, "pass")
            exporters.show((watched.poll(),))
            await_that(lambda: ask(server, 'openagentperf_phases_judged_total{verdict="pass"} == 1'), "the next scrape")


def test_the_page_is_the_only_one_and_a_port_that_is_taken_is_said(folder: Folder, capsys: pytest.CaptureFixture[str]):
    with Exporters(taken(0, "127.0.0.1", False), False) as exporters:
        with pytest.raises(OSError, match="404"):
            urlopen(exporters.url.removesuffix("metrics"))
        assert urlopen(exporters.url).read() == b"\n", "nothing is known before the first look"
        port = exporters.url.split(":")[2].removesuffix("/metrics")
        busy = asked(capsys, "watch", str(folder.path), "--metrics-port", port)
        assert (busy.status, "Address already in use" in busy.sentence) == (2, True)


def test_a_run_serves_its_own_figures_from_a_process_of_its_own(tmp_path: Path):
    write_plan(
        tmp_path, track="exact", start=2, limit=2, search_turns=12, search_measure_s=2, measure_s=2, certify_phases=3
    )
    with going(tmp_path, "run", "plan.toml", "--metrics-port", "0") as process:
        url = await_that(
            lambda: next((line for line in said(tmp_path).splitlines() if line.startswith("metrics on ")), ""),
            "the address",
        )
        url = url.removeprefix("metrics on ")

        def page() -> dict[str, float]:
            with urlopen(url, timeout=20) as answer:  # who comes before the run has a folder waits for it
                return {row.name: row.value for row in samples(answer.read().decode())}

        def at_work() -> dict[str, float]:
            found = page()
            return found if found.get("openagentperf_phase_turns_measured", 0) > 3 else {}

        found = await_that(at_work, "measured turns")
        assert found["openagentperf_phase_agents"] == 2
        assert found["openagentperf_power_watts"] > 0
        assert process.wait(40) == 0
    (run,) = (tmp_path / "runs").glob("2*")
    assert (run / "exporter.log").read_text() == ""
    with pytest.raises(OSError, match="refused"):
        urlopen(url)


# -- OpenTelemetry -----------------------------------------------------------------------------------------------------------


class Receiver(ThreadingHTTPServer):
    """OTLP over HTTP: decodes what it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[dict[tuple[str, str], float]] = []
        """A push each: value by name and by its labels but the run's."""
        self.headers: list[dict[str, str]] = []
        self.about: list[tuple[dict[str, str], dict[str, str]]] = []
        """Attributes of the resource, and the unit of each name."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as service

        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = service.ExportMetricsServiceRequest.FromString(body)
        values: dict[tuple[str, str], float] = {}
        units: dict[str, str] = {}
        for resource in request.resource_metrics:
            attributes = {row.key: row.value.string_value for row in resource.resource.attributes}
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                units[metric.name] = metric.unit
                points = metric.sum.data_points if metric.HasField("sum") else metric.gauge.data_points
                for point in points:
                    labels = ",".join(
                        f"{row.key}={row.value.string_value}" for row in point.attributes if row.key != "run"
                    )
                    values[metric.name, labels] = point.as_double or point.as_int
            self.server.about.append((attributes, units))
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.server.got.append(values)
        answer = service.ExportMetricsServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http.metric_exporter", reason="needs the `otel` extra")
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=bench")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "200")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "cluster=one")
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_receiver_is_pushed_the_figures_as_the_environment_says(folder: Folder, receiver: Receiver):
    name = "openagentperf_"
    with Attached(None, "127.0.0.1", True) as attached:
        attached.follow(folder.path)
        await_that(lambda: any(name + "phase_agents" in {key for key, _ in push} for push in receiver.got), "a push")
        push = receiver.got[-1]
        assert push[name + "phase_ttft_p95_seconds", ""] == pytest.approx(0.25)
        assert push[name + "phase_requests_in_flight", ""] == 3
        assert push[name + "phases_judged_total", "tier=easy,verdict=pass"] == 0
        folder.judge(0, "pass")
    assert receiver.got[-1][name + "phases_judged_total", "tier=easy,verdict=pass"] == 1, "the end is pushed too"
    attributes, units = receiver.about[-1]
    assert attributes["service.name"] == "openagentperf"
    assert attributes["cluster"] == "one"
    assert (units[name + "phase_requests_in_flight"], units[name + "run_elapsed_seconds"]) == ("{request}", "s")
    assert receiver.headers[-1]["x-tenant"] == "bench"
    assert (folder.path / "exporter.log").read_text() == ""


def test_a_receiver_that_is_away_does_not_fail_the_run(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    write_plan(tmp_path, track="exact", start=1, limit=1, certify_phases=1)
    ended = call(tmp_path, "run", "plan.toml", "--otlp")
    assert ended.status == 0, ended.err
    assert "Traceback" not in ended.err

"""Live figures for collectors: a Prometheus page on a port of its own, and OpenTelemetry metrics pushed by OTLP over HTTP.

Whoever polls a run hands each snapshot to `show`; a scrape answers from the latest, and touches neither the folder nor the run.
"""

from __future__ import annotations

import importlib
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from openagentperf import __version__
from openagentperf.errors import UsageError
from openagentperf.live import metrics
from openagentperf.live.records import Snapshot

_FLUSH_MS = 3_000


def listener(host: str, port: int) -> socket.socket:
    """A listening socket; UsageError where the port cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UsageError(
            f"--metrics-port {port}",
            f"cannot be listened on at {host} ({error.strerror or error})",
            "a free port of this host was needed",
            "choose another; 0 takes a free one",
        ) from error


def check_otlp() -> None:
    """UsageError where the `otel` extra is missing."""
    try:
        importlib.import_module("opentelemetry.sdk.metrics.export")
        importlib.import_module("opentelemetry.exporter.otlp.proto.http.metric_exporter")
    except ImportError as error:
        raise UsageError(
            "--otlp",
            f"needs packages that cannot be imported ({error})",
            "the OpenTelemetry SDK",
            "pip install 'openagentperf[otel]'",
        ) from error


class Exporters:
    """Nothing where neither a port nor `otlp` is wished. Use as a context manager."""

    def __init__(self, port: int | None, host: str, otlp: bool, *, bound: socket.socket | None = None) -> None:
        self._seen: tuple[Snapshot, ...] = ()
        self._page = self._provider = None
        self.url = ""
        """Of the Prometheus page; "" where there is none."""
        if otlp:
            check_otlp()
        if port is not None or bound is not None:
            self._page = _Page(bound or listener(host, port or 0), lambda: metrics.page(self._seen))
            self.url = self._page.url
        if otlp:
            self._provider = _provider(lambda: metrics.samples(self._seen))

    def show(self, seen: Sequence[Snapshot]) -> None:
        """What the next scrape or push tells."""
        self._seen = tuple(seen)

    def __enter__(self) -> Exporters:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._page is not None:
            self._page.close()
        if self._provider is not None:
            self._provider.shutdown(timeout_millis=_FLUSH_MS)  # pushes the last figures


class _Handler(BaseHTTPRequestHandler):
    timeout = 10.0
    protocol_version = "HTTP/1.1"
    make: Callable[[], bytes]

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "the page is /metrics")
            return
        body = type(self).make()
        self.send_response(200)
        self.send_header("Content-Type", metrics.CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass  # a scrape every few seconds is no news, and stderr is the display's


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a scraper that hangs up in the middle


class _Page:
    """Serves from threads of its own until closed."""

    def __init__(self, bound: socket.socket, make: Callable[[], bytes]) -> None:
        host, port = bound.getsockname()[:2]
        handler = type("Handler", (_Handler,), {"make": staticmethod(make)})
        self._server = _Server((host, port), handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = bound
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"
        self._thread = threading.Thread(target=partial(self._server.serve_forever, 0.1), name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _provider(find: Callable[[], dict[str, list[metrics.Sample]]]) -> Any:
    """A MeterProvider that pushes by the standard OTEL_* variables (endpoint, headers, interval)."""
    sdk = importlib.import_module("opentelemetry.sdk.metrics")
    export = importlib.import_module("opentelemetry.sdk.metrics.export")
    otlp = importlib.import_module("opentelemetry.exporter.otlp.proto.http.metric_exporter")
    resources = importlib.import_module("opentelemetry.sdk.resources")
    api = importlib.import_module("opentelemetry.metrics")
    resource = resources.Resource.create({"service.name": "openagentperf", "service.version": __version__})
    provider = sdk.MeterProvider([export.PeriodicExportingMetricReader(otlp.OTLPMetricExporter())], resource=resource)
    meter = provider.get_meter("openagentperf", __version__)

    def observe(name: str, _options: object) -> Iterable[Any]:
        for labels, value in find().get(name, []):
            yield api.Observation(value, {label: metrics.label_text(text) for label, text in labels.items()})

    for family in metrics.FAMILIES:
        create = meter.create_observable_counter if family.kind == "counter" else meter.create_observable_gauge
        create(metrics.PREFIX + family.name, [partial(observe, family.name)], family.unit, family.about)
    return provider

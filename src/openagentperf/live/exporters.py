"""Live figures for collectors: a Prometheus page on a port of its own, and OpenTelemetry metrics pushed by OTLP over HTTP.

Whoever polls a run hands each snapshot to `show`; a scrape answers from the latest, and touches neither the folder nor the run.
"""

from __future__ import annotations

import importlib
import importlib.util
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from openagentperf import __version__
from openagentperf.errors import UsageError
from openagentperf.listening import listener, url
from openagentperf.live import metrics
from openagentperf.live.records import Snapshot

_FLUSH_MS = 3_000
_SDK, _EXPORTER = "opentelemetry.sdk.metrics.export", "opentelemetry.exporter.otlp.proto.http.metric_exporter"


def taken(port: int | None, host: str, otlp: bool) -> socket.socket | None:
    """What was wished, before anything is begun: the socket of the Prometheus page, None where no port is wished.

    UsageError where the port, or the `otel` extra for `otlp`, cannot be had.
    """
    if otlp:
        _check_otlp()
    return None if port is None else listener("--metrics-port", host, port)


def _check_otlp() -> None:
    """Looked for and not imported: only the process that pushes needs the packages."""
    for name in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"):
        try:
            found = importlib.util.find_spec(name) is not None
        except ImportError:  # of a package around it
            found = False
        if not found:
            raise UsageError(
                "--otlp", f"needs {name}, which is not installed", "the OpenTelemetry SDK",
                "pip install 'openagentperf[otel]'",
            )  # fmt: skip


class Exporters:
    """A Prometheus page on `bound`, where there is one, and pushes where `otlp` is wished (see `taken`). Use as a context manager."""

    def __init__(self, bound: socket.socket | None, otlp: bool) -> None:
        self._seen: tuple[Snapshot, ...] = ()
        self._page = self._provider = None
        self.url = ""
        """Of the Prometheus page; "" where there is none."""
        if bound is not None:
            self._page = _Page(bound, lambda: metrics.page(self._seen))
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
        self.url = f"{url(host, port)}/metrics"
        self._thread = threading.Thread(target=partial(self._server.serve_forever, 0.1), name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _provider(find: Callable[[], dict[str, list[metrics.Sample]]]) -> Any:
    """A MeterProvider that pushes by the standard OTEL_* variables (endpoint, headers, interval)."""
    sdk = importlib.import_module("opentelemetry.sdk.metrics")
    export = importlib.import_module(_SDK)
    otlp = importlib.import_module(_EXPORTER)
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

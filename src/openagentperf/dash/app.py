"""The dashboard's addresses. Everything is read: there is nothing to post, and nothing of a run can be changed from here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib import resources

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from openagentperf.dash.documents import Documents
from openagentperf.dash.guard import DOCUMENT_POLICY, Guard
from openagentperf.dash.hub import Busy, Hub, shown
from openagentperf.dash.library import Library, Run
from openagentperf.errors import OpenAgentPerfError
from openagentperf.live import metrics
from openagentperf.report.page import clean

STATIC = {
    "app.js": "text/javascript",
    "charts.js": "text/javascript",
    "phasepane.js": "text/javascript",
    "runlist.js": "text/javascript",
    "runpage.js": "text/javascript",
    "words.js": "text/javascript",
    "style.css": "text/css",
    "icon.svg": "image/svg+xml",
}
MOST_COMPARED = 8


def _file(name: str) -> bytes:
    return (resources.files(__package__) / "static" / name).read_bytes()


class Dashboard:
    """The app over a library; `hub` is closed when the server ends."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.hub = Hub(library)
        self._documents = Documents()
        self._shell = _file("index.html")
        self._static = {name: _file(name) for name in STATIC}

    def app(self, bound: str, port: int, hosts: frozenset[str], token: str) -> ASGIApp:
        whole = {
            "/": self._page,
            "/run/{run}": self._page,
            "/run/{run}/report": _said(self._report),
            "/compare": _said(self._compare),
            "/static/{name}": self._static_file,
            "/api/runs": self._runs,
            "/api/runs/{run}": _said(self._snapshot),
            "/api/runs/{run}/phases/{index:int}": _said(self._phase),
            "/metrics": self._metrics,
        }
        zipped = [Middleware(GZipMiddleware, minimum_size=4096)]
        routes = [Route(path, answer, middleware=zipped) for path, answer in whole.items()]
        # Apart: a compressor keeps events back until it has enough of them, and of starlette 0.45 it takes this stream too.
        routes.append(Route("/api/runs/{run}/stream", _said(self._stream)))
        return Guard(Starlette(routes=routes), bound, hosts, token, port)

    async def _page(self, _request: Request) -> Response:
        return Response(self._shell, media_type="text/html")

    async def _static_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._static:
            return PlainTextResponse("no such file\n", 404)
        return Response(self._static[name], media_type=STATIC[name], headers={"Cache-Control": "no-cache"})

    async def _runs(self, _request: Request) -> Response:
        return _json(await asyncio.to_thread(lambda: shown(self.library.lines())))

    async def _find(self, wanted: str) -> Run:
        found = await asyncio.to_thread(self.library.find, wanted)
        if found is None:
            raise KeyError(wanted)
        return found

    async def _snapshot(self, request: Request) -> Response:
        channel = await self.hub.channel(await self._find(request.path_params["run"]))
        return _json(b'{"about":' + channel.about + b',"now":' + channel.now + b"}")

    async def _stream(self, request: Request) -> Response:
        events = await self.hub.stream(await self._find(request.path_params["run"]))
        return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def _phase(self, request: Request) -> Response:
        channel = await self.hub.channel(await self._find(request.path_params["run"]))
        return _json(await channel.closed(request.path_params["index"]))

    async def _report(self, request: Request) -> Response:
        run = await self._find(request.path_params["run"])
        return _document(await self._documents.report(run.folder))

    async def _compare(self, request: Request) -> Response:
        wanted = request.query_params.getlist("run")[:MOST_COMPARED]
        runs = [await self._find(run) for run in wanted]
        return _document(await self._documents.comparison([run.folder for run in runs]))

    async def _metrics(self, _request: Request) -> Response:
        seen = await self.hub.live()
        return Response(metrics.page(seen), headers={"Content-Type": metrics.CONTENT_TYPE})


def _said(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """What cannot be answered is said in a sentence."""

    async def safely(request: Request) -> Response:
        try:
            return await answer(request)
        except KeyError:
            return PlainTextResponse("There is no such run, or no such judged phase, in this folder.\n", 404)
        except Busy:
            return PlainTextResponse("More is being watched than this dashboard serves at once: close a page.\n", 503)
        except OpenAgentPerfError as error:
            return PlainTextResponse(clean(error.sentence()) + "\n", 422)

    return safely


def _json(data: bytes) -> Response:
    return Response(data, media_type="application/json")


def _document(page: bytes) -> Response:
    return Response(page, media_type="text/html", headers={"Content-Security-Policy": DOCUMENT_POLICY})

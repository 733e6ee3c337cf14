"""A Hugging Face hub on loopback: as much of its API as the client needs to look a data set up and to download its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

SHA = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub(repo: str, files: dict[str, bytes], *, status: int = 200, code: str = "") -> Iterator[tuple[str, list[str]]]:
    """Its address, and the paths of the files that were downloaded so far. `status` and `code`: what it answers to everything."""
    downloaded: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, body: bool) -> None:
            path = self.path.split("?")[0]
            name = path.removeprefix(f"/datasets/{repo}/resolve/{SHA}/")
            if status != 200:
                self._send(status, b"{}", {"X-Error-Code": code})
            elif path in (f"/api/datasets/{repo}", f"/api/datasets/{repo}/revision/{SHA}"):
                siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
                self._send(200, json.dumps({"id": repo, "sha": SHA, "siblings": siblings}).encode(), {})
            elif name in files:
                if body:
                    downloaded.append(name)
                etag = f'"{hashlib.sha256(files[name]).hexdigest()}"'
                self._send(200, files[name] if body else b"", {"ETag": etag, "X-Repo-Commit": SHA}, len(files[name]))
            else:
                self._send(404, b"", {"X-Error-Code": "RevisionNotFound" if "/revision/" in path else "EntryNotFound"})

        def _send(self, answer: int, body: bytes, headers: dict[str, str], length: int | None = None) -> None:
            self.send_response(answer)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", downloaded
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

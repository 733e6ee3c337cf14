"""The dashboard's server by itself: who is let in, what every answer carries, and that no address leads out of the folder."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from test_dashboard import serving

from openagentperf.dash.guard import host_name
from openagentperf.dash.library import Library, run_id
from openagentperf.meters.expositions import samples
from small_runs import asked, await_that
from watched import Folder, sample, turn

pytestmark = [pytest.mark.e2e, pytest.mark.beside]

TOKEN = "a-token-of-23-characters"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def get(url: str, path: str = "/", method: str = "GET", **headers: str) -> Answer:
    """One request with the path as it is: nothing is normalised on the way."""
    parts = urlsplit(url)
    connection = HTTPConnection("127.0.0.1", parts.port, timeout=20)
    try:
        connection.putrequest(method, path, skip_host="host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer: HTTPResponse = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("dash") / "runs"
    folder = Folder(runs / "one")
    folder.begin(0, 100.0).close()
    folder.judge(0, "pass")
    writer = folder.begin(1, 120.0)
    writer.put(turn(124.0, ttft_s=0.25))
    writer.put(sample(125.0, 3, 4))
    writer.close()
    (runs.parent / "secret.txt").write_text("secret")
    (runs / "secret.txt").write_text("secret")
    (runs / "linked").symlink_to(runs / "one")
    (runs / "no run").mkdir()
    return runs


@pytest.fixture(scope="module")
def open_url(runs: Path) -> Iterator[str]:
    with serving(runs) as (url, _):
        yield url


@pytest.fixture(scope="module")
def locked_url(runs: Path) -> Iterator[str]:
    with serving(runs, "--token", TOKEN) as (url, _):
        yield url


PATHS = ["/", "/run/one", "/static/app.js", "/api/runs", "/api/runs/one", "/api/runs/nine", "/metrics", "/nowhere"]


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_carries_the_policy_and_none_invites_other_sites(open_url: str, path: str):
    headers = get(open_url, path, Origin="http://evil.example").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in policy
    assert not [name for name in headers if name.startswith("access-control-")]
    assert "server" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/%2e%2e/app.py", "/static//etc/passwd", "/static/index.html",
        "/static/",
        "/run/../../secret.txt", "/api/runs/..", "/api/runs/%2e%2e", "/api/runs/..%2f..%2fsecret.txt", "/api/runs/linked",
        "/api/runs/no%20run",
        "/run/..%2f../report", "/run/secret.txt/report", "/run/%00/report", "/api/runs/one/phases/9", "/api/runs/one/phases/../0",
        "/api/runs/one/phases/-1", "/compare?run=..%2f..&run=one", "/api/runs/%ff%fe/stream", "//etc/passwd", "/api/runs/one%2f..%2fone",
    ],
)  # fmt: skip
def test_no_address_leads_out_of_the_folder(open_url: str, path: str):
    answer = get(open_url, path)
    assert answer.status == 404, answer.body[:200]
    assert b"secret" not in answer.body
    assert len(answer.body) < 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:80", 200), ("localhost:8380", 200), ("LOCALHOST", 200), ("localhost.", 200), ("[::1]:5", 200), ("127.8.8.8", 200),
        ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("localhost.evil.example:80", 421), ("", 421), ("192.168.0.7", 421),
    ],
)  # fmt: skip
def test_only_loopback_s_names_are_answered(open_url: str, host: str, status: int):
    """A page elsewhere can make its name lead to 127.0.0.1: its requests then bear that name."""
    assert get(open_url, "/api/runs", host=host).status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_changed(open_url: str, method: str):
    assert get(open_url, "/api/runs", method=method).status == 405


def test_a_token_opens_by_cookie_and_leaves_the_address(locked_url: str):
    assert locked_url.endswith(f"/?token={TOKEN}"), "printed once, with the address"
    assert [get(locked_url, path).status for path in PATHS] == [401] * len(PATHS)
    for wrong in (TOKEN[:-1], TOKEN + "x", "", "\u00e9", "x" * 100_000):
        assert get(locked_url, "/?token=" + wrong.encode().hex()).status in (401, 400, 431, 414)
        assert get(locked_url, "/", Authorization=f"Bearer {wrong[:50].encode().hex()}").status == 401
    answer = get(locked_url, f"/run/one?x=1&token={TOKEN}")
    assert (answer.status, answer.headers["location"]) == (303, "/run/one?x=1")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    name, value = cookie.partition(";")[0].split("=")
    port = urlsplit(locked_url).port
    assert name == f"openagentperf_{port}"
    assert get(locked_url, "/api/runs", Cookie=f"other=1; {name}={value}").status == 200
    assert get(locked_url, "/api/runs", Cookie=f"{name}={value}x").status == 401
    assert get(locked_url, "/api/runs", Cookie=f"{name}_1={value}").status == 401
    assert get(locked_url, "/metrics", Authorization=f"Bearer {TOKEN}").status == 200, "for a scraper"


@pytest.mark.parametrize("path", ["//evil.example/", "/\\evil.example", "///evil.example", "/%5cevil.example"])
def test_the_way_back_from_a_token_leads_nowhere_else(locked_url: str, path: str):
    answer = get(locked_url, f"{path}?token={TOKEN}")
    assert answer.status == 303
    assert re.match(r"/[^/\\]", answer.headers["location"])


def test_another_host_needs_a_token_which_is_made_and_differs_each_time(runs: Path):
    tokens = set()
    for _ in range(2):
        with serving(runs, "--host", "0.0.0.0", "--allow-host", "dash.example") as (url, _):
            parts = urlsplit(url)
            assert parts.hostname == socket.gethostname().lower()
            (token,) = parse_qs(parts.query)["token"]
            tokens.add(token)
            assert len(token) >= 32
            bearer = {"Authorization": f"Bearer {token}"}
            assert get(url, "/api/runs").status == 401
            for host, status in [
                ("10.1.2.3:80", 200),
                (socket.gethostname(), 200),
                ("dash.example", 200),
                ("evil.example", 421),
            ]:
                assert get(url, "/api/runs", host=host, **bearer).status == status
    assert len(tokens) == 2


def test_what_cannot_be_served_is_said_before(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert asked(capsys, "dashboard", str(tmp_path / "gone")).status == 2
    short = asked(capsys, "dashboard", str(runs), "--token", "short")
    assert (short.status, "16 characters or more were needed" in short.err) == (2, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        busy = asked(capsys, "dashboard", str(runs), "--port", port)
        assert (busy.status, "Address already in use" in busy.sentence) == (2, True)
    assert asked(capsys, "dashboard", str(runs), "--host", "no-such-host.invalid").status == 2


def test_the_stream_tells_all_at_once_and_then_what_changes(open_url: str, runs: Path):
    parts = urlsplit(open_url)
    connection = HTTPConnection("127.0.0.1", parts.port, timeout=20)
    connection.request("GET", "/api/runs/one/stream")
    answer = connection.getresponse()
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = list(read_events(answer, 2))
    assert [kind for kind, _ in events] == ["about", "now"]
    about, now = (value for _, value in events)
    assert [attempt["event"] for attempt in about["attempts"]] == ["judged", "begun"]
    assert now["phase"]["ttft_p95_s"] == pytest.approx(0.25)
    (kind, _), *_ = read_events(answer, 1)
    assert kind in ("now", "beat")
    answer.close()
    connection.close()


def read_events(answer: HTTPResponse, count: int) -> Iterator[tuple[str, Any]]:
    kind = ""
    while count:
        line = answer.readline().decode().rstrip("\n")
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))
            count -= 1


def test_many_may_look_at_once_and_too_many_are_told_so(open_url: str):
    connections = []
    try:
        for _ in range(100):
            connection = HTTPConnection("127.0.0.1", urlsplit(open_url).port, timeout=20)
            connection.request("GET", "/api/runs/one/stream")
            connections.append((connection, connection.getresponse()))
        assert {answer.status for _, answer in connections} == {200}
        refused = get(open_url, "/api/runs/one/stream")
        assert (refused.status, b"close a page" in refused.body) == (503, True)
        assert get(open_url, "/api/runs").status == 200, "other pages are still served"
    finally:
        for connection, answer in connections:
            answer.close()
            connection.close()

    def served() -> bool:
        connection = HTTPConnection("127.0.0.1", urlsplit(open_url).port, timeout=20)
        try:
            connection.request("GET", "/api/runs/one/stream")
            with connection.getresponse() as answer:
                return answer.status == 200
        finally:
            connection.close()

    await_that(served, "a place that is free again")


def test_metrics_of_the_runs_that_go_on(open_url: str):
    answer = get(open_url, "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {row.name: row for row in samples(answer.body.decode())}
    assert found["openagentperf_phase_ttft_p95_seconds"].value == pytest.approx(0.25)
    assert found["openagentperf_phase_ttft_p95_seconds"].labels["run"] == "one"


def test_one_run_by_itself(runs: Path):
    with serving(runs / "one") as (url, _):
        (line,) = json.loads(get(url, "/api/runs").body)
        assert (line["id"], line["name"], line["state"] in ("running", "silent")) == ("one", "one", True)
        assert get(url, "/api/runs/one").status == 200


# -- names -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "plain"),
    [("20261124-113101-13bfc8e2", True), ("a", True), (".hidden", False), ("..", False), ("a b", False), ("~x", False),
     ("\udcff", False), ("a" * 201, False)],
)  # fmt: skip
def test_a_name_stands_in_the_address_only_where_it_is_plain(name: str, plain: bool):
    found = run_id(name)
    assert (found == name) is plain
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*|~[0-9a-f]{18}", found)


def test_the_library_lists_real_folders_alone(runs: Path):
    assert [run.id for run in Library(runs).runs()] == ["one"]
    assert Library(runs).find("linked") is None


@pytest.mark.parametrize(
    ("header", "name"), [("a.b:80", "a.b"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("A", "a"), ("", ""), ("[", "")]
)
def test_the_name_in_a_host_header(header: str, name: str):
    assert host_name(header) == name

"""HTTP of meters: what goes wrong becomes a WebError in a few words, and the next request works again."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest
import trustme

from openagentperf.meters.web import Web, WebError, place, public
from webserver import Reply, Request, WebServer


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def context(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(found)
    return found


def echo(request: Request) -> Reply:
    return Reply(200, b" ".join((request.method.encode(), request.path.encode(), request.body)), {"X-Auth-Token": "t"})


def said(web: Web, path: str = "/") -> str:
    with pytest.raises(WebError) as caught:
        web.ask("GET", path)
    return str(caught.value)


def test_requests_share_one_connection() -> None:
    with WebServer(echo) as server:
        web = Web(server.url + "/page?a=b")
        assert web.ask("GET", web.path).body == b"GET /page?a=b "
        answer = web.ask("POST", "/x", {"A": "1"}, b"body")
        web.close()
    assert (answer.status, answer.body, answer.headers["x-auth-token"]) == (200, b"POST /x body", "t")
    assert server.connections == 1
    assert server.requests[1].headers["a"] == "1"
    assert server.requests[1].headers["accept-encoding"] == "identity"


def test_a_kept_connection_that_the_server_closed_is_dialled_anew() -> None:
    def once(request: Request) -> Reply:
        return Reply(200, b"x", last=True)

    with WebServer(once) as server:
        web = Web(server.url)
        assert [web.ask("GET", "/").body for _ in range(3)] == [b"x", b"x", b"x"]
        web.close()
    assert server.connections == 3


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (None, "the server closed the connection"),
        (Reply(200, b"abc", promised=10), "the answer was cut short"),
    ],
)
def test_a_broken_answer_is_an_error_and_the_next_one_is_read(reply: Reply | None, words: str) -> None:
    with WebServer(lambda request: reply) as server:
        web = Web(server.url)
        assert said(web) == words
        server.script = echo
        assert web.ask("GET", "/ok").body == b"GET /ok "
        web.close()


def test_an_answer_without_end_is_refused() -> None:
    with WebServer(lambda request: Reply(200, bytes(33 << 20))) as server:
        web = Web(server.url)
        assert said(web) == "the answer is longer than 32 MiB"
        server.script = echo
        assert web.ask("GET", "/ok").status == 200
        web.close()


def test_silence_ends_after_the_timeout() -> None:
    release = threading.Event()

    def wait(request: Request) -> None:
        release.wait(30)

    with WebServer(wait) as server:
        web = Web(server.url, timeout_s=0.1)
        assert said(web) == "no answer in time"
        release.set()
        web.close()


def test_a_body_that_drips_ends_after_the_timeout_too() -> None:
    """Each byte comes in time; all of them would take 1,000 s."""
    stop = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not stop.wait(0.01):
                try:
                    connection.sendall(b".")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        web = Web(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.3)
        assert said(web) == "no answer in time"
        web.close()
        stop.set()
        thread.join()


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    web = Web(f"http://127.0.0.1:{port}")
    assert said(web) == "Connection refused"
    web.close()
    web.close()


def test_a_path_that_http_cannot_carry_is_an_error() -> None:
    web = Web("http://127.0.0.1:9")
    assert "control characters" in said(web, "/a\nb")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://x", "is no http or https URL"),
        ("bmc.example", "is no http or https URL"),
        ("http://x:port/", "is no http or https URL"),
        ("http://[::1/", "is no http or https URL"),
        ("https://", "is no http or https URL"),
        ("https://root:calvin@bmc.example", "secrets are named by variables"),
    ],
)
def test_an_url_that_cannot_be_called(url: str, words: str) -> None:
    with pytest.raises(WebError, match=words) as caught:
        Web(url)
    assert "calvin" not in str(caught.value)


def test_tls_with_a_private_authority(authority: trustme.CA, tmp_path: Path) -> None:
    ca_file = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(ca_file)
    with WebServer(echo, context(authority)) as server:
        web = Web(server.url, ca_file=ca_file)
        assert web.ask("GET", "/x").body == b"GET /x "
        server.drop_all()
        assert web.ask("GET", "/y").body == b"GET /y "
        web.close()


@pytest.mark.parametrize(("name", "trusted"), [("localhost", False), ("elsewhere.example", True)])
def test_tls_refuses_what_it_cannot_verify_unless_told_not_to(
    authority: trustme.CA, tmp_path: Path, name: str, trusted: bool
) -> None:
    ca_file = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(ca_file)
    with WebServer(echo, context(authority, name)) as server:
        web = Web(server.url, ca_file=ca_file if trusted else "")
        assert said(web).startswith("its certificate is not trusted (")
        web.close()
        web = Web(server.url, insecure=True)
        assert web.ask("GET", "/x").status == 200
        web.close()


def test_a_ca_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(WebError, match="cannot be used"):
        Web("https://bmc.example", ca_file=str(tmp_path / "missing.pem"))
    (tmp_path / "text.pem").write_text("no certificate")
    with pytest.raises(WebError, match="cannot be used"):
        Web("https://bmc.example", ca_file=str(tmp_path / "text.pem"))


def test_what_may_stand_in_a_result_holds_no_secret() -> None:
    assert public("https://user:pw@bmc.example:8443/redfish?token=x") == "https://bmc.example:8443/redfish"
    assert public("http://[::1]:9400/metrics") == "http://[::1]:9400/metrics"
    assert public("https://bmc.example") == "https://bmc.example"
    assert public("http://u:p@[::1/x") == "http://[::1/x"
    assert place("https://user:pw@bmc.example:8443/redfish?token=x") == "bmc.example:8443"

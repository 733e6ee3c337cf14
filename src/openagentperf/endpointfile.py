"""The [endpoint] table of a plan: one URL or several, and what can be known wrong with them before anything is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from openagentperf.errors import PlanError
from openagentperf.plan import Endpoint
from openagentperf.tomlfile import Table

_KEY_HEADERS = {"authorization", "proxy-authorization", "api-key", "x-api-key"}


def normalise(table: Table, given: Sequence[str]) -> None:
    """`url` is the first of `urls`, which is left out where there is one. `given` are those of --endpoint, which win over the file's."""
    if given:
        table["url"], table["urls"] = given[0], list(given)
    urls = table.get("urls")
    if isinstance(urls, list) and urls:
        table.setdefault("url", urls[0])
        if urls == [table["url"]]:
            del table["urls"]


def check(endpoint: Endpoint, named: Callable[[str], str]) -> None:
    """Raise PlanError for a URL that cannot be one, or that holds a secret; `named` gives the file or option that a key came from."""
    urls, where = endpoint.all_urls, named("endpoint.url")
    if urls[0] != endpoint.url:
        raise PlanError(where, f"endpoint.url is `{endpoint.url}` and endpoint.urls begins with `{urls[0]}`", "",
                        "leave url out: it is the first of urls")  # fmt: skip
    addresses = [_address(url) for url in urls]
    if any(secret for *_, secret in addresses) or any(name.lower() in _KEY_HEADERS for name in endpoint.headers):
        raise PlanError(where, "the endpoint's url or headers hold a secret", "a plan is copied into the run folder",
                        "put the key into an environment variable and name it in api_key_env")  # fmt: skip
    for url, (scheme, host, _) in zip(urls, addresses, strict=True):
        if scheme not in ("http", "https", "unix") or not host:
            raise PlanError(where, f"endpoint.url is `{url}`", "an http or https URL, or unix:/PATH, was needed",
                            "write it like http://127.0.0.1:8000/v1")  # fmt: skip
    if twice := next((url for url in urls if urls.count(url) > 1), None):
        raise PlanError(
            where, f"`{twice}` is named twice", "agents are shared out evenly over the endpoints", "name it once"
        )


def _address(url: str) -> tuple[str, str, bool]:
    """Scheme, host (a unix socket's path), and whether a user name or password stands in it; empty where it is not a URL."""
    try:
        parts = urlsplit(url)
    except ValueError:  # an unclosed bracket of an IPv6 address
        return "", "", False
    if parts.scheme == "unix":
        return "unix", parts.path if parts.path.startswith("/") and not parts.netloc else "", False
    return parts.scheme, parts.hostname or "", parts.username is not None

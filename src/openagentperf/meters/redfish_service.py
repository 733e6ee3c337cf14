"""A Redfish service: signing in, reading resources, signing out."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import msgspec

from openagentperf.meters.web import Answer, Web, WebError

Resource: TypeAlias = Mapping[str, Any]

ROOT = "/redfish/v1/"
_SESSIONS = "/redfish/v1/SessionService/Sessions"
_TIMEOUT_S = 10.0
"""A BMC answers in 0.05 to 2 s; one that has just restarted a service in up to 10."""
_MAX_PAGES = 100
_UNAUTHORIZED = 401
_DECODE = msgspec.json.Decoder()


class StatusError(WebError):
    """An answer that is no resource."""

    def __init__(self, status: int) -> None:
        super().__init__("user or password are refused" if status == _UNAUTHORIZED else f"status {status}")
        self.status = status


class Service:
    """One service, used by one thread. A session where the service offers them, Basic where not, nothing without a user.

    Sessions come first because many BMCs run a slow password hash for every request of Basic, and because a session is signed out of
    again: a BMC has room for a few, and each that is left behind occupies one for half an hour.
    """

    def __init__(
        self, url: str, *, user: str = "", password: str = "", ca_file: str = "", insecure: bool = False
    ) -> None:
        self._web = Web(url, ca_file=ca_file, insecure=insecure, timeout_s=_TIMEOUT_S)
        self._prefix = self._web.path.partition("/redfish")[0].rstrip("/")  # of a proxy in front of the BMC
        self._user, self._password = user, password
        self._headers: dict[str, str] = {}
        self._session = ""
        """Path of the open session; "" where there is none."""
        self.how = "anonymous"
        """`session`, `basic` or `anonymous`."""

    def open(self) -> Resource:
        """Sign in. The service's root; WebError where there is no Redfish, or it refuses."""
        root = self._resource(self._ask("GET", ROOT))
        if self._user:
            self._sign_in(root)
        return root

    def get(self, path: str) -> Resource:
        """The resource at a path. WebError where it cannot be read (StatusError: the service answered otherwise)."""
        answer = self._ask("GET", path)
        if answer.status == _UNAUTHORIZED and self._session:
            self._session = ""
            self._headers = {}
            self._sign_in(self._resource(self._ask("GET", ROOT)))
            answer = self._ask("GET", path)
        return self._resource(answer)

    def there(self, path: str) -> Resource | None:
        """The resource, or None where the service answers that it cannot give it: much of what Redfish has is optional."""
        try:
            return self.get(path)
        except StatusError as error:
            if error.status == _UNAUTHORIZED:
                raise
            return None

    def members(self, resource: Resource, name: str) -> Iterator[tuple[str, Resource]]:
        """Paths and resources of the collection that `resource` refers to by `name`, over all its pages; those that cannot be read are
        left out."""
        path = link(resource.get(name))
        if not path:
            return
        seen = set()
        for _ in range(_MAX_PAGES):
            page = self.there(path) or {}
            for member in listed(page, "Members"):
                found = link(member)
                if found and found not in seen:
                    seen.add(found)
                    if (one := self.there(found)) is not None:
                        yield found, one
            path = str(page.get("Members@odata.nextLink") or "")
            if not path:
                return

    def close(self) -> None:
        if self._session:
            with suppress(WebError):
                self._ask("DELETE", self._session)
            self._session = ""
        self._web.close()

    def _sign_in(self, root: Resource) -> None:
        if self.how != "basic":
            body = msgspec.json.encode({"UserName": self._user, "Password": self._password})
            path = link(inner(root, "Links").get("Sessions")) or _SESSIONS
            answer = self._ask("POST", path, body)
            token = answer.headers.get("x-auth-token", "")
            if answer.status in (200, 201) and token:
                self.how, self._headers = "session", {"X-Auth-Token": token}
                place = urlsplit(answer.headers.get("location", "")).path
                self._session = place.removeprefix(self._prefix) or link(self._resource(answer))
                return
            if answer.status == _UNAUTHORIZED:
                raise StatusError(answer.status)
        # Switched off (404, 405, 501, 503), or all sessions taken by clients that never signed out.
        basic = base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        self.how, self._headers = "basic", {"Authorization": f"Basic {basic}"}

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        headers = {"Accept": "application/json", "OData-Version": "4.0", **self._headers}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return self._web.ask(method, self._prefix + path.partition("#")[0], headers, body)

    @staticmethod
    def _resource(answer: Answer) -> Resource:
        if answer.status not in (200, 201):
            raise StatusError(answer.status)
        try:
            found = _DECODE.decode(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise WebError(f"its answer is no JSON ({error})") from error
        if not isinstance(found, dict):
            raise WebError("its answer is no JSON object")
        return found


def link(value: object) -> str:
    """The path that a reference (`{"@odata.id": ...}`) leads to; "" where it is none."""
    found = value.get("@odata.id") if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def inner(resource: Resource, name: str) -> Resource:
    """The object called `name` inside of a resource; an empty one where there is none."""
    found = resource.get(name)
    return found if isinstance(found, dict) else {}


def listed(resource: Resource, name: str) -> list[Any]:
    """The list called `name` inside of a resource; an empty one where there is none."""
    found = resource.get(name)
    return found if isinstance(found, list) else []

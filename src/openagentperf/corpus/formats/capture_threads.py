"""Which requests of a log belong to one session: the later one sends the earlier one's messages again, and more.

    1. Its messages begin with those of a thread's last request. Of several threads (the same task run many times) the one whose answer
       follows them, then the one with the same session id. A thread whose answer is still on its way, or has another id, is out.
    2. Else: it carries a thread's last answer, told by its tool calls' ids: the agent rewrote what stands before (an undeclared cut).
    3. Else it opens a thread.

Messages are compared as they will be replayed: cache marks that move from turn to turn are no rewrite. A request that failed is no turn;
the agent was ready when it first sent it, so its tools had ended then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from openagentperf.corpus.formats.capture_requests import Request
from openagentperf.records.trajectory import Message
from openagentperf.units import Ns


class Thread:
    """One line of requests, each going on from the one before."""

    __slots__ = ("arrivals", "begins_anew", "requests", "tip")

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.arrivals: list[Ns] = []
        """When the agent first sent each of them: earlier than its own arrival where an attempt had failed."""
        self.begins_anew: set[int] = set()
        """Turns that go on with a history begun anew: a compaction."""
        self.tip = 0
        """The number of its last request's whole message list."""

    @property
    def first(self) -> Request:
        return self.requests[0]

    @property
    def last(self) -> Request:
        return self.requests[-1]

    @property
    def ended_ns(self) -> Ns:
        return self.last.row.answered_ns

    def add(self, request: Request, arrived_ns: Ns) -> None:
        self.requests.append(request)
        self.arrivals.append(arrived_ns)


class _Paths:
    """A number for each distinct beginning of a message list."""

    def __init__(self) -> None:
        self._next: dict[tuple[int, tuple[Message, ...]], int] = {}

    def of(self, request: Request) -> list[int]:
        """The number of each of the request's beginnings, shortest first."""
        at, numbers = request.run, []  # runs share no path: their roots are numbers that no path gets
        for messages in request.said:
            at = self._next.setdefault((at, messages), -len(self._next) - 1)
            numbers.append(at)
        return numbers


class Threads:
    """Links requests given in the order of their arrival."""

    def __init__(self) -> None:
        self.found: list[Thread] = []
        self.notes: Counter[str] = Counter()
        self._paths = _Paths()
        self._tips: dict[int, list[Thread]] = {}
        self._by_call: dict[tuple[int, str], Thread] = {}
        self._failed: dict[int, Ns] = {}

    def add(self, requests: Iterable[Request]) -> None:
        for request in requests:
            self._take(request)

    def _take(self, request: Request) -> None:
        path = self._paths.of(request)
        end = path[-1]
        if not request.answered:
            self.notes["requests that got no answer left out (their tools' time ends at the first attempt)"] += 1
            self._failed.setdefault(end, request.arrived_ns)
            return
        arrived_ns = self._failed.pop(end, request.arrived_ns)
        if (again := self._cut_short(request, end)) is not None:
            self.notes["answers that were cut off and asked for again left out"] += 1
            again.requests[-1] = request
            self._remember(again)
            return
        thread = self._extended(request, path) or self._carried(request)
        if thread is None:
            thread = Thread()
            self.found.append(thread)
        else:
            self._tips[thread.tip].remove(thread)
        thread.add(request, arrived_ns)
        thread.tip = end
        self._tips.setdefault(end, []).append(thread)
        self._remember(thread)

    def _remember(self, thread: Thread) -> None:
        for call in thread.last.calls:
            self._by_call[thread.last.run, call] = thread

    def _cut_short(self, request: Request, end: int) -> Thread | None:
        """The thread whose last answer was cut off, if this request asks for it again."""
        for thread in self._tips.get(end, ()):
            if thread.last.row.ending and _may_follow(thread, request):
                return thread
        return None

    def _extended(self, request: Request, path: Sequence[int]) -> Thread | None:
        for kept in range(len(path) - 1, 0, -1):
            candidates = [thread for thread in self._tips.get(path[kept - 1], ()) if _may_follow(thread, request)]
            if candidates:
                follows = request.said[kept][:1]
                return max(candidates, key=lambda thread: _likeness(thread, request, follows[0] if follows else None))
        return None

    def _carried(self, request: Request) -> Thread | None:
        for messages in reversed(request.said):
            for message in messages:
                for call in message.tool_calls:
                    thread = self._by_call.get((request.run, call.id))
                    if thread is not None and call.id in thread.last.calls and _may_follow(thread, request):
                        return thread
        return None


def ordered(requests: Iterable[Request]) -> Iterator[Request]:
    """By run and arrival: a log is in the order in which exchanges ended."""
    return iter(sorted(requests, key=lambda request: (request.run, request.arrived_ns)))


def _may_follow(thread: Thread, request: Request) -> bool:
    before, now = thread.last.row, request.row
    same = not before.session or not now.session or before.session == now.session
    return same and before.dialect == now.dialect and thread.ended_ns <= request.arrived_ns


def _likeness(thread: Thread, request: Request, follows: Message | None) -> tuple[bool, bool, Ns]:
    """How much speaks for this thread: its answer comes next, its session is the same, it was the last to end."""
    answer = thread.last.answer
    same = False
    if answer is not None and follows is not None:
        if answer.tool_calls:
            same = {call.id for call in answer.tool_calls} == {call.id for call in follows.tool_calls}
        else:
            same = answer.content.strip() == follows.content.strip()
    return same, bool(request.row.session) and thread.last.row.session == request.row.session, thread.ended_ns

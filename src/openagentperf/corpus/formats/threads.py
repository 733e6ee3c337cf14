"""Which requests go on with which, told by their messages: the later one sends the earlier one's again, and more.

    requests in the order of time -> Threads.add -> the thread that the request goes on with, or a new one

In this order, with the latest thread first among equals:

    1. Its messages begin with those of a thread's last request, and that one's answer follows.
    2. They are those of a thread's last request, which has gone on before: a retry. (At the first turn, of a session
       without a name: another run of the same task.)
    3. They begin with those of a thread's last request.
    4. They hold a thread's last answer, told by the ids of its calls: what stands before it was rewritten.
    5. Half of the messages of a thread's last request stand in front, an answer among them: the rest was rewritten.
    6. A long answer of the thread itself, or one that another thread got while it waited, stands in front as the user's words: a summary.

4 and 5 are undeclared cuts, or compactions where 6 holds too. A thread that still waits for its answer is out, and so is one with another
session's name. A request whose task stands in the arguments of a thread's open calls opens a thread, before 6 is asked.

Messages are looked up by a chain of hashes over the message list, so that a request costs its own length, however many threads there are.
Two lists with one hash (2^-64) would be linked, and marked as a rewrite.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Sequence

from openagentperf.corpus.formats.families import TELLING, Family, Spawn, families, prompts, texts_of, was_told
from openagentperf.corpus.formats.snapshots import common
from openagentperf.corpus.formats.thread import Fills, Request, Thread
from openagentperf.records.trajectory import Message, ToolCall
from openagentperf.units import NS_PER_S, Ns

IDLE_NS: Ns = 24 * 3600 * NS_PER_S
"""A session that was silent for a day is given out: what is held in memory is a day's sessions, not a year's."""
_TOLD = 8
"""A summary stands behind the task, which is kept: among so many messages at the front."""
_OWN = 200
"""Characters from which a thread's own answer that comes back as a user's words is a summary: people quote shorter ones."""
_LOOKED_AT = 64
"""Of threads that are alike in what is asked, the latest so many are looked at: a thousand runs of one task must not cost their square."""


class Threads:
    """Feed it requests in the order of time."""

    def __init__(self) -> None:
        self._live: dict[Thread, list[Spawn]] = {}
        """By when they began, with the places where each may hang."""
        self._index = _Index()
        self.fills = Fills()
        self._failed: dict[int, Ns] = {}

    def add(self, request: Request) -> Thread:
        """Put it where it belongs. Raises ValueError for a request without messages."""
        if not request.messages:
            raise ValueError("a request without messages")
        path = _path(request)
        # The agent was ready when it first sent it: its tools had ended then.
        request.began = self._failed.pop(path[-1], request.began)
        if (cut_short := self._cut_short(request, path)) is not None:
            cut_short.again(request)
            self._index.put(cut_short, _keys(cut_short, path))
            return cut_short
        thread = self._answered(request, path) or self._extended(request, path)
        compacted = False
        if thread is None:
            thread = self._carried(request) or self._half_kept(request, path)
            spawns = self._spawns(request) if thread is None else []
            if (
                not any(spawn.told for spawn in spawns)
                and (found := self._summed_up(request, path, thread)) is not None
            ):
                thread, compacted = found, True
            if thread is None:
                thread = Thread(self.fills)
                self._live[thread] = spawns
        thread.add(request, "compaction" if compacted else "undeclared")
        self._index.put(thread, _keys(thread, path))
        return thread

    def fail(self, request: Request) -> None:
        """It got no answer, and is no turn."""
        if request.messages and request.began is not None:
            self._failed.setdefault(_path(request)[-1], request.began)

    def idle(self, now: Ns | None) -> list[Family]:
        """The sessions that ended a day before `now`; None: all of them. They are forgotten here."""
        before = None if now is None else now - IDLE_NS
        done = [
            family
            for family in families(self._live)
            if before is None or all(_silent(thread, before) for thread in family.threads)
        ]
        for family in done:
            for thread in family.threads:
                del self._live[thread]
                self._index.drop(thread)
        return done

    def _like(self, request: Request, kind: str, *value: Hashable) -> Iterator[Thread]:
        """The latest threads that the request may go on with and that are known by this; of its session's name first."""
        sessions = (request.session, "") if request.session else (None,)
        for session in sessions:
            free = (thread for thread in self._index.latest(kind, session, *value) if not _busy(thread, request))
            yield from itertools.islice(free, _LOOKED_AT)

    def _cut_short(self, request: Request, path: Sequence[int]) -> Thread | None:
        return next((thread for thread in self._like(request, "sent", path[-1]) if thread.last.broken), None)

    def _answered(self, request: Request, path: Sequence[int]) -> Thread | None:
        for sent in range(len(path) - 1, 0, -1):
            answer = request.messages[sent]
            if answer.role == "assistant":
                found = list(self._like(request, "answered", path[sent - 1], _said(answer)))
                if found:
                    # Servers that count their calls from 0 give many answers one id.
                    same = (thread for thread in found if _calls(thread.last) == answer.tool_calls)
                    return next(same, found[0])
        return None

    def _extended(self, request: Request, path: Sequence[int]) -> Thread | None:
        for thread in self._like(request, "sent", path[-1]):
            if len(thread.asked) > 1 or (request.session and request.session == thread.last.session):
                return thread
        for sent in range(len(path) - 1, 0, -1):
            for thread in self._like(request, "sent", path[sent - 1]):
                return thread
        return None

    def _carried(self, request: Request) -> Thread | None:
        for message in reversed(request.messages):
            for call in message.tool_calls:
                found = list(self._like(request, "call", request.scope, call.id, call.name))
                same = [thread for thread in found if call in _calls(thread.last)]
                if same or len(found) == 1:  # an id that several answers have tells nothing
                    return (same or found)[0]
        return None

    def _half_kept(self, request: Request, path: Sequence[int]) -> Thread | None:
        best, found = 0, None
        for half in path:
            for thread in self._like(request, "half", half):
                same = common(thread.last.messages, request.messages)
                # Where all of the request was sent before, the thread was not gone on with: somebody went back in it.
                if best < same < len(request.messages):
                    best, found = same, thread
        return found

    def _summed_up(self, request: Request, path: Sequence[int], rewritten: Thread | None) -> Thread | None:
        """The thread whose history the request goes on with, a part of it replaced by a summary; `rewritten`, where that is known to be it.

        The summary is its own last answer, or that of a thread which ran while it waited, and is a branch of it from now on.
        """
        end = request.ended if request.began is None else request.began
        told = [message.content for message in request.messages[:_TOLD] if message.role == "user"]
        for other in itertools.islice(reversed(self._live), _LOOKED_AT):
            text = other.last.answer.content.strip() if other.last.answer is not None else ""
            if len(text) < TELLING or not any(text in content for content in told):
                continue
            threads = [rewritten] if rewritten is not None else list(self._like(request, *_system(request, path)))
            if other in threads and len(text) >= _OWN:
                return other
            if other.began is None or other.last.ended is None or end is None or other.last.ended > end:
                continue
            for thread in threads:
                if thread is not other and thread.last.ended is not None and thread.last.ended <= other.began:
                    self._live[other] = [Spawn(thread, len(thread.asked) - 1, True, "summary")]
                    return thread
        return None

    def _spawns(self, request: Request) -> list[Spawn]:
        """Answers whose calls were open when the request was sent, and that may have asked for it."""
        began = request.ended if request.began is None else request.began
        if began is None:
            return []
        keys = [("open", request.scope, request.session)] if request.session else []
        for text in prompts(request):
            keys += [("opens", request.scope, text[:TELLING]), ("closes", request.scope, text[-TELLING:])]
        found: dict[Thread, Spawn] = {}
        for kind, scope, value in keys:
            for thread in itertools.islice(self._index.latest(kind, None, scope, value), _LOOKED_AT):
                if thread in found or thread.last.ended is None or thread.last.ended > began:
                    continue
                told = was_told(thread.last, request)
                if told or kind == "open":
                    found[thread] = Spawn(thread, len(thread.asked) - 1, told)
        return list(found.values())


class _Index:
    """Threads by what they are known by, the latest last."""

    def __init__(self) -> None:
        self._known: dict[Hashable, dict[Thread, None]] = {}
        self._keys: dict[Thread, list[Hashable]] = {}

    def put(self, thread: Thread, keys: list[Hashable]) -> None:
        """It is known by these, and by nothing else."""
        self.drop(thread)
        self._keys[thread] = list(dict.fromkeys(keys))
        for key in self._keys[thread]:
            self._known.setdefault(key, {})[thread] = None

    def drop(self, thread: Thread) -> None:
        for key in self._keys.pop(thread, ()):
            known = self._known[key]
            del known[thread]
            if not known:
                del self._known[key]

    def latest(self, *key: Hashable) -> Iterator[Thread]:
        return reversed(self._known.get(key, {}))


def _keys(thread: Thread, path: Sequence[int]) -> list[Hashable]:
    """What a thread is known by, its last request having these hashes."""
    last = thread.last
    known: list[tuple[Hashable, ...]] = [_system(last, path), ("sent", path[-1])]
    # The same prompts alone are two runs of one task: an answer must be kept, too.
    answer = next((place for place, message in enumerate(last.messages) if message.role == "assistant"), None)
    if answer is not None:
        known.append(("half", path[max(answer, (len(path) - 1) // 2)]))
    if last.answer is not None:
        known.append(("answered", path[-1], _said(last.answer)))
        known += [("call", last.scope, call.id, call.name) for call in last.answer.tool_calls if call.id]
    keys: list[Hashable] = [(kind, session, *value) for kind, *value in known for session in {None, last.session}]
    if last.calls:
        keys.append(("open", None, last.scope, last.session))
        for text in texts_of(last.answer):
            keys += [("opens", None, last.scope, text[:TELLING]), ("closes", None, last.scope, text[-TELLING:])]
    return keys


def _path(request: Request) -> list[int]:
    """A hash for each beginning of its message list, the shortest first."""
    at, path = hash(request.scope), []
    for message in request.messages:
        at = hash((at, message))
        path.append(at)
    return path


def _system(request: Request, path: Sequence[int]) -> tuple[str, Hashable]:
    return "system", path[0] if request.messages[0].role == "system" else request.scope


def _said(answer: Message) -> Hashable:
    """What tells an answer from others to the same request."""
    if not answer.tool_calls:
        return answer.content.strip()
    ids = frozenset(call.id for call in answer.tool_calls)
    return ids if all(ids) else answer.tool_calls


def _calls(request: Request) -> tuple[ToolCall, ...]:
    return request.answer.tool_calls if request.answer is not None else ()


def _busy(thread: Thread, request: Request) -> bool:
    """Whether the thread's last request was still open when this one was sent."""
    return request.began is not None and thread.last.ended is not None and request.began < thread.last.ended


def _silent(thread: Thread, before: Ns) -> bool:
    return thread.last.ended is None or thread.last.ended < before

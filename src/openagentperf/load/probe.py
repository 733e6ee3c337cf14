"""Single requests outside any phase, made and decoded as the load's are: what preflight asks with."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

import msgspec

from openagentperf.agent import Send
from openagentperf.client.clock import now_ns
from openagentperf.client.connection import Piece
from openagentperf.client.endpoint import Address, request_head
from openagentperf.client.exchange import exchange
from openagentperf.corpus.layout import Compiled
from openagentperf.load.protocol import Setup
from openagentperf.load.requests import RequestMaker
from openagentperf.load.setup import setup
from openagentperf.plan import Endpoint, Plan
from openagentperf.records.phase import PhaseOrder
from openagentperf.records.preflight import ServerFacts
from openagentperf.records.turns import RawTurn, TurnRow
from openagentperf.wire.chat import decode
from openagentperf.wire.chatrequest import CLOSE, open_messages


class Probe:
    """Sends one request at a time, each on a connection of its own. `order` lends nonces; nothing of it is run."""

    def __init__(
        self,
        address: Address,
        context: ssl.SSLContext | None,
        endpoint: Endpoint,
        headers: dict[str, str],
        plan: Plan,
        corpus: Compiled,
        order: PhaseOrder,
        timeout_s: float,
    ) -> None:
        self._address, self._context, self._endpoint, self._headers = address, context, endpoint, headers
        self._plan, self._corpus, self._order, self._timeout_s = plan, corpus, order, timeout_s
        self._replay = 0

    def fresh(self) -> int:
        """A replay that no request was of before: its prompts are cold behind the shared part."""
        self._replay += 1
        return self._replay

    async def get(self, path: str, timeout_s: float) -> RawTurn:
        head = request_head(self._address, "GET", path, self._headers) + b"0\r\n\r\n"
        return await exchange(self._address, self._context, [head], timeout_s)

    async def turn(
        self,
        at: tuple[int, int],
        facts: ServerFacts,
        *,
        replay: int,
        first_read: bool = False,
        count_only: bool = False,
    ) -> TurnRow:
        """A turn (trajectory, turn) of the corpus.

        first_read   hang up at the first bytes of the answer: its status is all that is asked
        count_only   ask for one token: the prompt's count is all that is asked
        """
        asked = self._setup(facts)
        if count_only:
            asked = msgspec.structs.replace(asked, exact=False, max_output_tokens=1, context_tokens=0)
        maker = RequestMaker(self._corpus, self._order, [self._post()], asked)
        line = self._corpus.line_of(*at)
        send = Send(trajectory=at[0], turn=at[1], replay=replay, due_ns=now_ns(), line=line)
        return await self._ask(maker.make(send, agent=0).pieces, first_read)

    async def custom(self, messages: bytes, max_tokens: int, facts: ServerFacts) -> TurnRow:
        """A JSON array of messages that is not of the corpus, with the plan's other fields."""
        body = b"%s%d%s%s%s" % (self._setup(facts).fixed_head, max_tokens, open_messages(b""), messages, CLOSE)
        return await self._ask([b"%s%d\r\n\r\n%s" % (self._post(), len(body), body)], False)

    def _post(self) -> bytes:
        return request_head(self._address, "POST", "/chat/completions", self._headers)

    def _setup(self, facts: ServerFacts) -> Setup:
        return setup(self._plan, self._endpoint, self._headers, facts)

    async def _ask(self, pieces: Sequence[Piece], first_read: bool) -> TurnRow:
        raw = await exchange(self._address, self._context, pieces, self._timeout_s, first_read=first_read)
        return decode(raw)

"""Request bytes by splicing: no JSON is encoded while load is on.

head (fixed) + Content-Length | body head (fixed) + max_tokens | tools | messages of the compiled corpus with two nonces | }
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from openagentperf.agent import Send
from openagentperf.client.connection import Piece
from openagentperf.corpus.layout import Compiled, Slot
from openagentperf.corpus.nonce import replay_nonce
from openagentperf.load.protocol import Setup
from openagentperf.records.phase import PhaseOrder
from openagentperf.wire.chatrequest import CLOSE, open_messages

_ROOM_MARGIN = 1.01
"""A prompt may be this much longer than ratio x corpus count before `max_tokens` runs into the end of the context."""


class Request(NamedTuple):
    """One request, ready to be sent."""

    pieces: list[Piece]
    """For one sendmsg; message text stays where it lies, in the mmap."""
    size_bytes: int
    exact_tokens: int
    """Length that the answer must have; 0 on the natural track."""
    corpus_tokens: int
    """Prompt tokens by the corpus's own count."""


def route(agent: int, endpoints: int) -> int:
    """Which of several endpoints an agent speaks to, in every phase and for all its turns: its prefixes stay where they were cached."""
    return agent % endpoints


class RequestMaker:
    """For one phase: the phase nonce is the same in all its requests."""

    def __init__(self, corpus: Compiled, order: PhaseOrder, heads: Sequence[bytes], setup: Setup) -> None:
        """`heads`: of a request to each endpoint (client.endpoint.request_head)."""
        self._corpus, self._heads, self._setup = corpus, heads, setup
        self._phase_nonce = order.phase_nonce.encode()
        self._key = order.nonce_key

    def make(self, send: Send, agent: int) -> Request:
        """The request of one turn, with the nonces of this phase and of this replay, which all lines of a tree share."""
        corpus = self._corpus
        slot = corpus.slot(send.trajectory, send.turn)
        wanted = self.max_tokens(slot)
        opening = b"%s%d%s" % (self._setup.fixed_head, wanted, open_messages(corpus.tools(send.trajectory, send.line)))
        nonce = replay_nonce(self._key, agent, send.replay)
        messages = corpus.message_pieces(send.trajectory, send.turn, self._phase_nonce, nonce)
        length = len(opening) + corpus.messages_bytes(send.trajectory, send.turn) + len(CLOSE)
        head = b"%s%d\r\n\r\n" % (self._heads[route(agent, len(self._heads))], length)
        pieces: list[Piece] = [head + opening, *messages, CLOSE]
        return Request(pieces, len(head) + length, wanted if self._setup.exact else 0, slot.input_tokens)

    def max_tokens(self, slot: Slot) -> int:
        """`exact`: the recorded length. `natural`: the plan's cap, or what the prompt leaves of the context, if that is less.

        Servers refuse prompt + max_tokens > context, so a cap of 16,384 would fail every turn that ends near the context's end.
        """
        setup = self._setup
        if setup.exact:
            return slot.output_tokens
        if not setup.context_tokens:
            return setup.max_output_tokens
        room = setup.context_tokens - int(slot.input_tokens * setup.token_ratio * _ROOM_MARGIN) - 64
        # Never below the recorded answer: preflight has shown that the longest turn fits with it.
        return min(setup.max_output_tokens, max(room, slot.output_tokens))

"""Before any load: can this endpoint be measured honestly? Every failure names its fix, and none costs a phase to find.

Asked in order, each only if the ones it rests on held: reachable and TLS; the model's name; a streamed answer; token counts in it;
the end of an answer under control (exact track); the corpus's longest turn fits; the prefix cache works (the same prompt
twice) and survives a conversation (three turns). All prompts carry fresh nonces, so a probe never warms a later phase.
"""

from __future__ import annotations

import asyncio
from array import array

import msgspec

from openagentperf.client.endpoint import resolve, tls_context
from openagentperf.client.unreachable import complaint
from openagentperf.corpus.layout import Compiled
from openagentperf.corpus.longest import candidates, size_bytes
from openagentperf.errors import EndpointError
from openagentperf.load.alike import together
from openagentperf.load.probe import Probe
from openagentperf.plan import Endpoint, Plan
from openagentperf.records.phase import PhaseOrder
from openagentperf.records.preflight import Check, Report, ServerFacts
from openagentperf.records.turns import TurnRow
from openagentperf.wire import http

PROBE_TIMEOUT_S = 120.0
"""Of a first answer: a cold server on a CPU prefills a long prompt for a minute."""
REACH_TIMEOUT_S = 20.0
"""Of the list of models, which costs a server nothing."""
_EOS_TOKENS = (64, 37)
"""Two lengths: a fixed answer length of the server's own may honour one by accident."""
_EOS_PROMPT = b'[{"role":"user","content":"Reply with exactly the word: hi"}]'
_WHOLE = 0.6
"""Of the tokens that a short turn's ratio foretells for the longest. Code of another language moves a ratio by 20 %, not by 40."""
_LONG_TURNS = 6
"""How many are really sent, each of another trajectory: by the corpus's count one is the longest, by the server's another."""


class _Model(msgspec.Struct):
    id: str
    max_model_len: int | None = None
    meta: dict[str, object] | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


def check(endpoint: Endpoint, headers: dict[str, str], plan: Plan, corpus: Compiled, order: PhaseOrder) -> Report:
    """Ask everything, of each URL. `order` lends nonces and a seed; nothing of it is run. Never raises for what the endpoint does."""

    async def ask_all() -> Report:
        each = (msgspec.structs.replace(endpoint, url=url, urls=()) for url in endpoint.all_urls)
        asked = (_Preflight(one, headers, plan, corpus, order).ask() for one in each)
        return together(endpoint.all_urls, await asyncio.gather(*asked))

    asking = ask_all()
    try:
        return asyncio.run(asking)
    finally:
        asking.close()  # Ctrl-C while the loop is being made leaves it unstarted: Python would then complain behind our own last word


class _Preflight:
    def __init__(
        self, endpoint: Endpoint, headers: dict[str, str], plan: Plan, corpus: Compiled, order: PhaseOrder
    ) -> None:
        self._endpoint, self._headers, self._plan, self._corpus, self._order = endpoint, headers, plan, corpus, order
        self._checks: list[Check] = []
        self._facts = ServerFacts(model=endpoint.model)
        self._tokens_a_byte = 0.0
        """The most that any text was read as."""

    def _say(self, name: str, status: str, found: str, needed: str = "", fix: str = "") -> bool:
        check = Check(name=name, status=status, found=found, needed=needed, fix=fix)  # type: ignore[arg-type]
        self._checks.append(check)
        return check.ok

    async def ask(self) -> Report:
        usable = await self._reachable() and await self._model() and await self._streams()
        if usable:
            if self._plan.workload.track == "exact":
                await self._stops_when_told()
            if await self._longest_fits():
                await self._cache()
        return Report(checks=tuple(self._checks), server=self._facts if usable else None)

    # -- the questions -----------------------------------------------------------------------------------------------------

    async def _reachable(self) -> bool:
        url = self._endpoint.url
        try:
            address = resolve(url)
            context = tls_context(self._endpoint.ca_file) if address.tls else None
        except EndpointError as error:
            return self._say("reachable", "failed", f"{error.where} {error.found}", error.needed, error.fix)
        plan = self._plan
        timeout_s = max(PROBE_TIMEOUT_S, plan.tiers.loosest.ttft_s * 4)
        self._probe = Probe(address, context, self._endpoint, self._headers, plan, self._corpus, self._order, timeout_s)
        raw = await self._probe.get("/models", REACH_TIMEOUT_S)
        if bad := complaint(raw, url, REACH_TIMEOUT_S):
            self._checks.append(bad)
            return False
        self._models_answer = http.parse(raw.data, array("q", raw.sizes))
        return self._say("reachable", "ok", f"{url} answers{' over verified TLS' if context else ''}")

    async def _model(self) -> bool:
        answer, wanted = self._models_answer, self._endpoint.model
        try:
            listed = msgspec.json.decode(answer.body, type=_Models).data if answer.status == 200 else []
        except msgspec.DecodeError:
            if b"<html" in answer.body[:2000].lower():
                fix = "the base URL usually ends in /v1: check --endpoint, and that no proxy or login page stands before it"
                return self._say("model", "failed", "/models answers with HTML", "the OpenAI API's JSON", fix)
            listed = []
        if not listed:
            if not wanted:
                fix = "name it with --model"
                found = f"/models lists none (HTTP {answer.status})"
                return self._say("model", "failed", found, "the served model's name", fix)
            return self._say(
                "model", "warning", f"/models lists none (HTTP {answer.status}), so {wanted!r} is taken as given"
            )
        names = [m.id for m in listed]
        if not wanted and len(names) > 1:
            found = f"{len(names)} models are served: {', '.join(names[:8])}"
            return self._say("model", "failed", found, "one of them to measure", "choose it with --model")
        if wanted and wanted not in names:
            found = f"{wanted!r} is not served; the server lists {', '.join(map(repr, names[:8]))}"
            return self._say(
                "model", "failed", found, "a served model's name", "change --model, or serve it under that name"
            )
        model = next(m for m in listed if m.id == (wanted or names[0]))
        context = model.max_model_len or (model.meta or {}).get("n_ctx") or 0
        self._facts = ServerFacts(model=model.id, context_tokens=context if isinstance(context, int) else 0)
        return self._say("model", "ok", model.id + (f", context {context:,} tokens" if context else ""))

    async def _streams(self) -> bool:
        """A first turn, as the load will send it: streamed, complete, counted."""
        turn = self._shortest()
        row = await self._turn(turn, replay=self._probe.fresh())
        where = f"a first turn of the corpus ({row.request_bytes:,} bytes)"
        match row.failure:
            case "":
                pass
            case "http" if row.status == 404:
                fix = "check --model, and that the base URL ends in /v1"
                return self._say("streaming", "failed", row.detail, "a model that is served", fix)
            case "http" if row.status in (401, 403):
                fix = "name the variable that holds the key with --api-key-env"
                return self._say("streaming", "failed", row.detail, "a valid key", fix)
            case "http" if "tool" in row.detail:
                fix = "let it accept tools (vLLM: --enable-auto-tool-choice --tool-call-parser NAME)"
                return self._say("streaming", "failed", row.detail, "a server that takes tool definitions", fix)
            case "http" if row.status == 422 or "ignore_eos" in row.detail:
                fix = "use --track natural, or an engine that knows ignore_eos (vLLM, SGLang, llama.cpp, TensorRT-LLM)"
                return self._say("streaming", "failed", row.detail, "a request it understands", fix)
            case "overflow":
                return await self._too_long(row.detail)
            case "no_usage":
                fix = "switch on stream_options.include_usage in the engine or the gateway before it"
                return self._say("usage", "failed", "the stream carries no token counts", "`usage` in the stream", fix)
            case "timeout":
                fix = "check that the server generates at all; see its log"
                found = f"{where}: {row.detail}, {row.output_events} output events came"
                return self._say("streaming", "failed", found, "a complete answer", fix)
            case _:
                fix = "see the server's log; `curl -N` the same request to look at the stream"
                found = f"{where}: {row.failure}: {row.detail}"
                return self._say("streaming", "failed", found, "a complete chat-completions event stream", fix)
        self._say(
            "streaming", "ok", f"{row.output_events} output events in {row.output_reads} reads, finish {row.finish!r}"
        )
        slot = self._corpus.slot(*turn)
        ratio = (row.prompt_tokens or slot.input_tokens) / max(1, slot.input_tokens)
        self._facts = msgspec.structs.replace(
            self._facts, token_ratio=ratio, reports_cached=row.cached_tokens is not None
        )
        if row.prompt_tokens is None:
            return self._say("usage", "warning", "usage counts the answer but not the prompt")
        return self._say(
            "usage", "ok", f"the server counts {row.prompt_tokens:,} prompt tokens, {ratio:.2f} x the corpus's count"
        )

    async def _stops_when_told(self) -> bool:
        fix = "use --track natural, or an engine that honours ignore_eos (vLLM, SGLang, llama.cpp, TensorRT-LLM)"
        for tokens in _EOS_TOKENS:
            needed = f"exactly {tokens} tokens with ignore_eos"
            row = await self._probe.custom(_EOS_PROMPT, tokens, self._facts)
            if row.failure:
                return self._say("eos control", "failed", f"{row.failure}: {row.detail}", needed, fix)
            if row.output_tokens != tokens:
                return self._say("eos control", "failed", f"the answer has {row.output_tokens} tokens", needed, fix)
        return self._say(
            "eos control", "ok", f"ignore_eos gives {' and '.join(map(str, _EOS_TOKENS))} tokens, as asked"
        )

    async def _longest_fits(self) -> bool:
        """Really sent: token counts of two tokenizers are never equal, and a gateway may have a limit of its own."""
        turn, *others = candidates(self._corpus, _LONG_TURNS)
        context = self._facts.context_tokens
        if context and self._estimate(turn) > 1.1 * context:
            return await self._too_long()
        replay = self._probe.fresh()
        row = await self._turn(turn, replay=replay, first_read=True)
        if row.failure == "overflow":
            return await self._too_long(row.detail)
        if row.status != 200:
            found = f"the corpus's longest turn ({row.request_bytes:,} bytes): {row.failure} {row.detail}"
            return self._say(
                "context", "failed", found, "an answer", "see the server's log; a proxy may limit body sizes"
            )
        if not await self._whole_prompt_counted(turn, replay, row.request_bytes):
            return False
        counted = self._checks[-1]
        for other in others:
            bad, _ = await self._too_much(other)
            if bad:
                self._checks.remove(counted)
                return await self._too_long(bad)
        return True

    async def _whole_prompt_counted(self, turn: tuple[int, int], replay: int, request_bytes: int) -> bool:
        """A server that cuts long prompts without a word (a context window set too small) would be fast and wrong."""
        row = await self._turn(turn, replay=replay, count_only=True)
        wanted = self._corpus.slot(*turn).input_tokens
        if row.prompt_tokens is None:
            found = f"the longest turn fits ({request_bytes:,} bytes); its tokens are not counted"
            return self._say("context", "warning", found)
        ratio = row.prompt_tokens / max(1, wanted)
        if ratio < _WHOLE * min(1.0, self._facts.token_ratio):
            expected = int(wanted * self._facts.token_ratio)
            found = f"of the corpus's longest turn (about {expected:,} tokens) the server counts {row.prompt_tokens:,}"
            fix = "raise its context window (Ollama: num_ctx), or cut the corpus with --max-context"
            return self._say("context", "failed", found, "the whole prompt", fix)
        # Of the longest turn: on a short one the template's own tokens weigh in, and every use of the ratio is about long ones.
        self._facts = msgspec.structs.replace(self._facts, token_ratio=ratio)
        found = f"the longest turn fits: {row.prompt_tokens:,} prompt tokens, {request_bytes:,} bytes"
        return self._say("context", "ok", found)

    def _estimate(self, at: tuple[int, int]) -> int:
        """Tokens of a turn by this server's count, as far as one turn's ratio foretells another's."""
        slot = self._corpus.slot(*at)
        return int(slot.input_tokens * self._facts.token_ratio) + slot.output_tokens

    async def _too_much(self, at: tuple[int, int]) -> tuple[str, float]:
        """Why a turn does not fit, "" where it does; and the server's prompt tokens / the corpus's, guessed where it does not say."""
        slot, context, replay = self._corpus.slot(*at), self._facts.context_tokens, self._probe.fresh()
        row = await self._turn(at, replay=replay, count_only=True)
        in_bytes = size_bytes(self._corpus, at)
        if row.prompt_tokens:
            self._tokens_a_byte = max(self._tokens_a_byte, row.prompt_tokens / in_bytes)
        ratio = (row.prompt_tokens or max(context, self._tokens_a_byte * in_bytes)) / max(1, slot.input_tokens)
        if row.failure != "overflow" and self._plan.workload.track == "natural":
            # With the room for its answer that the load will ask for.
            row = await self._turn(at, replay=replay, first_read=True)
        if row.failure == "overflow":
            return row.detail, ratio
        wanted = (row.prompt_tokens or 0) + slot.output_tokens
        if self._plan.workload.track == "exact" and row.prompt_tokens and 0 < context < wanted:
            return f"{row.prompt_tokens:,} prompt tokens, and {slot.output_tokens:,} are to be generated", ratio
        return "", ratio

    async def _too_long(self, detail: str = "") -> bool:
        longest, context = candidates(self._corpus, 1)[0], self._facts.context_tokens
        found = f"the context is {context:,} tokens" if context else "the context is too short"
        found += f" (the server says: {detail})" if detail else ""
        estimate = self._estimate(longest)
        needed = f"about {estimate:,} tokens, the corpus's longest turn by this server's count"
        if estimate <= context:  # it was another turn, of a text that this server counts higher
            needed = "room for every turn of the corpus"
        fits = await self._fitting(context) if context else 0
        fix = f"cut the corpus with --max-context {fits}" if fits >= 256 else "cut the corpus with --max-context"
        return self._say("context", "failed", found, needed, f"{fix}, or serve a longer context")

    async def _fitting(self, context: int) -> int:
        """A --max-context with which the corpus fits, found by asking; 0 where five cuts did not do.

        The ratio of one turn is not that of another: with 1.40 of a short first turn, where the longest had 1.75, the advice was a
        length that failed again.
        """
        ratio = max(self._facts.token_ratio, 0.01)
        for _ in range(5):
            fits = int(0.95 * context / ratio)
            turns = candidates(self._corpus, _LONG_TURNS, fits)
            for at in turns:
                bad, told = await self._too_much(at)
                if bad:
                    ratio = max(told, 1.1 * ratio)
                    break
            else:
                return fits if turns else 0
        return 0

    async def _cache(self) -> bool:
        """The same prompt twice, then a conversation of three turns."""
        turn, replay = self._shortest(), self._probe.fresh()
        first = await self._turn(turn, replay=replay)
        second = await self._turn(turn, replay=replay)
        if first.failure or second.failure:
            bad = first if first.failure else second
            return self._say(
                "prefix cache", "failed", f"{bad.failure}: {bad.detail}", "two answers", "see the server's log"
            )
        if second.cached_tokens is None or not second.prompt_tokens:
            found = "the server does not report cached tokens, so the result will say *cache unverified*"
            fix = "vLLM: --enable-prompt-tokens-details, SGLang: --enable-cache-report"
            return self._say("prefix cache", "warning", found, "usage.prompt_tokens_details.cached_tokens", fix)
        share = second.cached_tokens / second.prompt_tokens
        self._facts = msgspec.structs.replace(self._facts, reports_cached=True, prefix_cached=share)
        if share < 0.5:
            found = f"the same prompt sent twice found {second.cached_tokens} of {second.prompt_tokens} tokens cached"
            fix = "switch prefix caching on (vLLM: --enable-prefix-caching); agents re-send their history at every turn"
            return self._say("prefix cache", "failed", found, "at least half", fix)
        self._say("prefix cache", "ok", f"a repeated prompt is cached to {share:.0%}")
        return await self._conversation()

    async def _conversation(self) -> bool:
        """Server-side templates that drop old reasoning, or re-order tools, show here: turn 2 finds less than turn 1 left."""
        corpus = self._corpus
        trajectory = next((t for t in range(corpus.trajectories) if corpus.lines(t)[0].turns >= 3), None)
        if trajectory is None:
            return True
        replay = self._probe.fresh()
        rows = [await self._turn((trajectory, k), replay=replay) for k in range(3)]
        if any(row.failure or row.cached_tokens is None or not row.prompt_tokens for row in rows):
            return True
        kept = (rows[2].cached_tokens or 0) / (rows[1].prompt_tokens or 1)
        found = f"turn 3 of a conversation finds {kept:.0%} of turn 2's prompt cached"
        if kept < 0.5:
            return self._say(
                "conversation", "warning", found, "nearly all of it",
                "check the chat template: it may rewrite earlier messages, which makes every turn a cold prefill",
            )  # fmt: skip
        return self._say("conversation", "ok", found)

    # -- asking ------------------------------------------------------------------------------------------------------------

    def _shortest(self) -> tuple[int, int]:
        """The first turn with the shortest answer: probes should not cost minutes on a slow server."""
        corpus = self._corpus
        trajectory = min(range(corpus.trajectories), key=lambda t: corpus.slot(t, 0).output_tokens)
        return trajectory, 0

    async def _turn(
        self, at: tuple[int, int], *, replay: int, first_read: bool = False, count_only: bool = False
    ) -> TurnRow:
        return await self._probe.turn(at, self._facts, replay=replay, first_read=first_read, count_only=count_only)

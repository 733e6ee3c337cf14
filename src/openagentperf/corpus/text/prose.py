"""Sentences of an agent that thinks aloud, and of a person who reports a bug."""

from __future__ import annotations

from openagentperf.corpus.text import words
from openagentperf.corpus.text.words import pick
from openagentperf.seeds import Stream

_SENTENCES = (
    "Let me look at how `{f}` is called before I change it.",
    "The {a} is built in `{f}`, but the {b} is only set later, so {m}.",
    "I'll run the tests again to see whether the {a} still fails.",
    "That confirms it: `{g}` returns the {x} {a} when the {b} is empty.",
    "Now I need to find where the {b} gets its {a} from.",
    "The fix is to {v} the {a} once and hand it to `{g}`.",
    "There are {n} callers; {m} in two of them.",
    "Next I'll add a test that covers the {x} {b}.",
    "This is the same pattern as in `{f}`, so I'll follow it here.",
    'The error says "{m}", which comes from line {n}.',
    "Before that, let me check the {x} {a} in the configuration.",
    "All {n} tests pass now. I'll check the types as well.",
    "The {a} should stay private: only `{g}` needs it.",
    "I was wrong about the {b}; it is {x} at this point.",
    "Two things are left: the {a} and a line in the changelog.",
    "It would be safer to {v} under the lock, since `{f}` may run twice.",
    "Good, the {x} {a} is there. The {b} isn't, though.",
    "I expected {n}, so something before `{g}` must {v} the {a} first.",
    "Rather than change the signature, I'll {v} the {b} at the call.",
    "The documentation of `{f}` still speaks of the {x} {a}; I'll correct it.",
)


def sentence(stream: Stream) -> str:
    return pick(_SENTENCES, stream).format(
        f=words.function_name(stream, "snake"),
        g=words.function_name(stream, "camel"),
        a=pick(words.NOUNS, stream),
        b=pick(words.NOUNS, stream),
        x=pick(words.ADJECTIVES, stream),
        v=pick(words.VERBS, stream),
        m=words.message(stream),
        n=2 + stream.below(240),
    )


def rule(stream: Stream) -> str:
    """A line of a system prompt."""
    return "- " + pick(_RULES, stream).format(
        v=pick(words.VERBS, stream),
        w=pick(words.VERBS, stream),
        a=pick(words.NOUNS, stream),
        b=pick(words.NOUNS, stream),
        x=pick(words.ADJECTIVES, stream),
        n=2 + stream.below(30),
    )


_RULES = (
    "Before you {v} a {a}, read the file that defines it.",
    "Never {v} a {x} {a} without a test that fails first.",
    "Prefer one small edit of the {a} to a rewrite of the {b}.",
    "If a command that should {v} the {b} takes more than {n} seconds, stop it and say so.",
    "Keep the {a} as it is where nobody asked you to {v} it.",
    "When tests fail {n} times in a row, go back to the {x} {b} and think again.",
    "Quote at most {n} lines of a {a} in an answer.",
    "Do not {v} files outside the repository; ask the user to {w} them.",
    "Say what you will {v} in one sentence, then call the tool.",
    "Paths are relative to the root of the repository; a {x} {a} is no exception.",
    "Use `grep` to find a {a}, then read only the lines around it.",
    "Independent calls, such as reading a {a} and a {b}, belong in one answer.",
)

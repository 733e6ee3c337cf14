"""What the agent says around its calls. Ours, and little: a session's text is the repository's."""

from __future__ import annotations

from collections.abc import Iterable

from openagentperf.corpus.derived.change import Commit
from openagentperf.corpus.tokens import estimate
from openagentperf.seeds import Stream

SENTENCES: dict[str, tuple[str, ...]] = {
    "list": (
        "Let me see what is in {about} first.",
        "First the layout of {about}.",
        "I want to know which files {about} has.",
        "Where would this live? A look at {about}.",
    ),
    "grep": (
        "Where is `{about}` used?",
        "Let me find every place that mentions `{about}`.",
        "Before I touch anything I look for `{about}`.",
        "Who else depends on `{about}`?",
        "`{about}` seems to be the name to follow.",
    ),
    "read": (
        "Now {about}.",
        "Let me read {about}.",
        "I need to see how {about} does this.",
        "{about} is close to the change, so I read it.",
        "The next piece is {about}.",
        "What does {about} expect?",
    ),
    "read several": (
        "A few files at once, starting with {about}.",
        "{about} and what stands beside it.",
        "I read {about} together with its neighbours.",
    ),
    "sizes": ("How large are these files?", "Let me see how much there is to read around {about}."),
    "log": ("What was done here last?", "The recent history may tell why it is this way."),
    "diff": ("Let me look at the whole change so far.", "Does the diff say what I mean?", "A review of what I have."),
    "status": ("What have I touched?", "Let me see the state of the tree."),
    "edit": (
        "Now I change {about}.",
        "With that understood, the change in {about}.",
        "{about} needs this.",
        "I replace this part of {about}; its callers stay as they are.",
        "The fix belongs into {about}.",
    ),
    "write": ("{about} is new.", "I add {about}.", "This goes into a file of its own, {about}."),
    "remove": ("{about} is not needed any more.", "I remove {about}."),
    "move": ("The file becomes {about}.", "I move it to {about} first."),
    "test": (
        "Let me run the tests.",
        "Do the tests around {about} pass?",
        "I run what covers this, {about} first.",
        "The tests decide.",
    ),
}
_MORE = (
    "The names suggest that the behaviour is decided in one place, so I follow the calls from there.",
    "I keep the change as small as the task allows.",
    "If this is right, nothing else in the folder has to change.",
    "It has to agree with what the callers already rely on.",
    "I note this and go on; it may matter for the tests.",
    "There may be a second place that does the same, which I check as well.",
    "The style of the surrounding code is to be kept.",
    "What happens for an empty input is worth a look.",
)


def said(kind: str, about: str, tokens: int, stream: Stream) -> str:
    """Sentences for a call of this kind, at most `tokens` long; "" where not one fits."""
    choices = SENTENCES[kind]
    text = choices[stream.below(len(choices))].format(about=about)
    if estimate(text) > tokens:
        return ""
    first = stream.below(len(_MORE))
    for index in range(3):
        longer = f"{text} {_MORE[(first + index) % len(_MORE)]}"
        if estimate(longer) > tokens:
            break
        text = longer
    return text


def progress(commit: Commit, changed: Iterable[str]) -> str:
    """The summary that an answer gives before a compaction."""
    subject = commit.message.partition("\n")[0]
    lines = [f"# Task\n{subject}", "", "# Changed so far", *(f"- {path}" for path in changed), "", "# Left to do"]
    lines += [f"- {change.path}" for change in commit.changes if change.path not in set(changed)]
    return "\n".join([*lines, "- run the tests, read the whole change once more"])


def summary(commit: Commit, tested: bool) -> str:
    """The last answer: what was asked, and which files were changed how."""
    lines = [f"Done: {commit.message.partition(chr(10))[0] or 'the change is made'}.", ""]
    for change in commit.changes[:12]:
        added = sum(len(hunk.new) for hunk in change.hunks)
        removed = sum(len(hunk.old) for hunk in change.hunks)
        how = {"added": "new", "deleted": "removed"}.get(change.kind, "moved" if not change.hunks else "changed")
        lines.append(f"- `{change.path}`: {how} (+{added} -{removed})")
    if len(commit.changes) > 12:
        lines.append(f"- and {len(commit.changes) - 12} more files")
    lines += ["", "The tests pass." if tested else "Nothing was run."]
    return "\n".join(lines)

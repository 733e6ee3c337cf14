"""What every session of a profile opens with: system prompt and tools of one agent program, the same bytes for every seed."""

from __future__ import annotations

import msgspec

from openagentperf.corpus.profiles import Profile
from openagentperf.corpus.text import calls, prose, words
from openagentperf.corpus.text.fill import fill
from openagentperf.corpus.tokens import MESSAGE_TOKENS, Counter
from openagentperf.records.trajectory import Message
from openagentperf.seeds import Stream

_OPENING = """You are a coding agent. You work in a checked-out repository until the task that the user gives you is done, \
by calling tools; the user does not answer while you work.

Work in small steps: look, change, test. The tests of the repository decide whether a change is right. When the task is done, \
say in two or three sentences what you changed and why, and stop calling tools.

Rules:
"""

_TOOLS: tuple[tuple[str, str, dict[str, str], tuple[str, ...]], ...] = (
    ("bash", "Run a command in a shell and return what it prints.", {"command": "Command line"}, ("command",)),
    (
        "read_file",
        "Return lines of a text file with their numbers.",
        {"path": "File, relative to the root", "offset": "First line, from 1", "limit": "How many lines"},
        ("path",),
    ),
    (
        "edit_file",
        "Replace a text that occurs once in a file.",
        {"path": "File to change", "old_string": "Text to replace, as it stands", "new_string": "Text to put there"},
        ("path", "old_string", "new_string"),
    ),
    (
        "grep",
        "Search files for a regular expression.",
        {"pattern": "Regular expression", "path": "File or folder"},
        ("pattern",),
    ),
    (
        "write_file",
        "Write a whole file, creating folders as needed. Overwrites what was there.",
        {"path": "File to write", "content": "All of its text"},
        ("path", "content"),
    ),
    (
        "glob",
        "List files whose path matches a pattern, newest first.",
        {"pattern": "Pattern such as src/**/*.ts", "path": "Folder to start in"},
        ("pattern",),
    ),
    (
        "apply_patch",
        "Apply a unified diff to the working tree. Nothing is changed where a hunk does not fit.",
        {"patch": "The diff", "strip": "Leading path components to drop"},
        ("patch",),
    ),
    (
        "fetch",
        "Get a page of documentation by its address and return it as plain text.",
        {"url": "Address", "max_chars": "Cut the text after so many characters"},
        ("url",),
    ),
    (
        "todo",
        "Replace the list of steps that are still to be done. The user sees it.",
        {"steps": "One step a line", "done": "Numbers of the steps that are done"},
        ("steps",),
    ),
    (
        "agent",
        "Give a piece of work to a sub-agent and wait for its report. It has tools of its own and sees nothing of this conversation.",
        {"description": "The work in a few words", "prompt": "All that the sub-agent needs to know"},
        ("description", "prompt"),
    ),
)
_INTEGERS = {"offset", "limit", "strip", "max_chars"}
_SEED = 1


class Harness:
    """System message and tools of a profile, together exactly its `shared_tokens` by `count`."""

    def __init__(self, profile: Profile, count: Counter) -> None:
        self.name = f"openagentperf-{profile.name}/1"
        self.shortest_answer_tokens = MESSAGE_TOKENS + calls.SHORTEST.tokens(count)
        stream = Stream(_SEED, "harness", profile.name)
        tools = [_definition(*tool) for tool in _TOOLS[: profile.tools]]
        while sum(map(count, tools)) < profile.tools_tokens:
            tools.append(_plugin(stream, len(tools)))
        self.tools = tuple(tools)

        def rules(chars: int) -> str:
            lines = [_OPENING]
            while sum(map(len, lines)) < chars:
                lines.extend(prose.rule(stream) + "\n" for _ in range(20))
            return "".join(lines)

        system_tokens = profile.shared_tokens - sum(map(count, self.tools)) - MESSAGE_TOKENS
        self.system = Message("system", fill(count, system_tokens, rules))


def _plugin(stream: Stream, number: int) -> str:
    """A tool of a plugin, with instructions of 200 to 1,000 characters: such tools are most of what large harnesses send."""
    name = words.function_name(stream, "snake")
    parameters = {words.variable_name(stream, "snake"): words.remark(stream) for _ in range(1 + stream.below(6))}
    description = " ".join(prose.rule(stream).removeprefix("- ") for _ in range(3 + stream.below(12)))
    required = tuple(parameters)[: 1 + stream.below(2)]
    return _definition(f"{name}_{number}", description, parameters, required)


def _definition(name: str, description: str, parameters: dict[str, str], required: tuple[str, ...]) -> str:
    """One entry of OpenAI's `tools`."""
    properties = {
        key: {"type": "integer" if key in _INTEGERS else "string", "description": text}
        for key, text in parameters.items()
    }
    schema = {"type": "object", "properties": properties, "required": required}
    function = {"name": name, "description": description, "parameters": schema}
    return msgspec.json.encode({"type": "function", "function": function}).decode()

"""Importers, one module a recording format. Each offers `read(data, source, skipped) -> Iterator[Trajectory]`.

What they share: `lines` (JSONL that survives bad lines), `chat` (OpenAI messages), `mend` (histories that no engine refuses),
`counts` (token counts and times that can be trusted) and `languages`. Claude Code needs more: `claude_lines`, `claude_blocks`,
`tree`, `injected` and `prefix`.
"""

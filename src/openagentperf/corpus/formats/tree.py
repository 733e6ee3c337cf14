"""Which lines of a Claude Code file belong to one conversation: its lines form a tree by `parentUuid`.

The main chain is what resuming the session would load: from the last message of the file up to the root. Going back in a
session and asking something else leaves the other messages on an abandoned branch, which no later request contains.

Three traps, each seen in recordings:
- Parallel calls: each tool call is a line whose parent is the call before, and each result's parent is its own call, so
  all results but the last hang beside the chain. They belong to it, as do further lines of the same API response.
- A parent that the file does not hold (progress lines were deleted, files were cut): the line before it stands in.
- A compaction starts a new root; `logicalParentUuid` or the line before links it to what it summarises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from openagentperf.corpus.formats.claude_lines import Node


def branches(nodes: Iterable[Node]) -> dict[str, list[Node]]:
    """The file's nodes by sub-agent, in file order; "" is the main line.

    Old versions write no `agentId`: there the uuid of the sub-agent's first line names it.
    """
    found: dict[str, list[Node]] = {}
    branch_of: dict[str, str] = {}
    for node in nodes:
        name = node.agent
        if not name and node.sidechain:
            name = branch_of.get(node.parent or "") or node.uuid
        branch_of[node.uuid] = name
        found.setdefault(name, []).append(node)
    return found


def main_chain(nodes: Sequence[Node]) -> tuple[list[Node], int]:
    """The nodes of the conversation that ends last, in file order, and how many broken links were joined by file order."""
    by_uuid = {node.uuid: index for index, node in enumerate(nodes)}
    leaf = next((index for index in range(len(nodes) - 1, -1, -1) if nodes[index].talks), None)
    on: set[int] = set()
    joined = 0
    at = leaf
    while at is not None and at not in on:
        on.add(at)
        parent, broken = _parent(nodes, at, by_uuid)
        joined += broken
        at = parent
    _add_beside(nodes, on)
    return [nodes[index] for index in sorted(on)], joined


def _parent(nodes: Sequence[Node], at: int, by_uuid: dict[str, int]) -> tuple[int | None, bool]:
    node = nodes[at]
    if node.parent is None and not node.compaction:
        return None, False
    for uuid in (node.parent, node.logical_parent):
        if uuid is not None and uuid in by_uuid:
            return by_uuid[uuid], False
    return (at - 1 if at else None), True


def _add_beside(nodes: Sequence[Node], on: set[int]) -> None:
    """Add what belongs to the chain's answers without lying on it: their other lines, their results, what hangs on those."""
    answers = {nodes[index].response for index in on} - {""}
    calls: set[str] = set()
    for node in nodes:
        if node.response in answers:
            calls.update(node.calls)
    beside: set[str] = set()
    for index in _off(nodes, on):
        node = nodes[index]
        if node.response in answers or not calls.isdisjoint(node.results) or (node.injects and node.parent in beside):
            beside.add(node.uuid)
            on.add(index)


def _off(nodes: Sequence[Node], on: set[int]) -> Iterator[int]:
    return (index for index in range(len(nodes)) if index not in on)

"""YAML as nests of dict, list and str, safe to read from anybody.

Built from the parser's events: a general loader follows aliases (a file of 1 KB that means 10^9 items), builds what a tag names, and
recurses as deep as the file does. Here aliases, keys that are no scalars and more than DEPTH levels are errors, and every scalar stays the
text that it is, null being "": what should be a number is read as one by its user.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import yaml

Node: TypeAlias = "dict[str, Node] | list[Node] | str"

DEPTH = 32
_NULLS = ("null", "~", "Null", "NULL")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser where PyYAML was built with it, as its wheels are: 10 times as fast as the one in Python."""


def documents(data: bytes) -> Iterator[Node]:
    """Each document of a YAML stream. Raises ValueError where it cannot be read, or is one of those refused."""
    stack: list[dict[str, Node] | list[Node]] = []
    keys: list[str | None] = []
    """One for each level: the key whose value comes next; None in a list, and where a key is awaited."""
    root: Node | None = None
    try:
        for event in yaml.parse(data, Loader=_LOADER):
            if isinstance(event, yaml.ScalarEvent):
                if stack and isinstance(stack[-1], dict) and keys[-1] is None:
                    keys[-1] = event.value
                    continue
                node: Node = "" if event.implicit[0] and event.value in _NULLS else event.value
            elif isinstance(event, yaml.MappingStartEvent):
                node = {}
            elif isinstance(event, yaml.SequenceStartEvent):
                node = []
            elif isinstance(event, yaml.CollectionEndEvent):
                stack.pop()
                keys.pop()
                continue
            elif isinstance(event, yaml.AliasEvent):
                raise ValueError("YAML with aliases is not read")
            elif isinstance(event, yaml.DocumentEndEvent):
                if root is not None:
                    yield root
                root = None
                continue
            else:
                continue
            if stack:
                _put(stack[-1], keys, node)
            else:
                root = node
            if not isinstance(node, str):
                if len(stack) == DEPTH:
                    raise ValueError(f"YAML nested deeper than {DEPTH} levels is not read")
                stack.append(node)
                keys.append(None)
    except yaml.YAMLError as error:
        if "maximum nesting depth" in str(error):  # PyYAML 6.0.4 and later count for themselves, while they look ahead
            raise ValueError(f"YAML nested deeper than {DEPTH} levels is not read") from error
        raise ValueError(str(error).replace("\n", " ")) from error


def _put(parent: dict[str, Node] | list[Node], keys: list[str | None], node: Node) -> None:
    if isinstance(parent, list):
        parent.append(node)
        return
    key = keys[-1]
    if key is None:
        raise ValueError("YAML with keys that are no scalars is not read")
    parent[key] = node
    keys[-1] = None

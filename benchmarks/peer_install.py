"""Makes the peers' environments: one a peer, outside the repository, at pinned versions; and a tokenizer that needs no network.

Peers count tokens of prompts and answers with a tokenizer from a folder. None may be fetched at run time, so one is trained here: byte
pairs, 32,000 of them, on the source of Python's own standard library.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peer_clients import PEERS, Peer

_TRAIN = Path(__file__).parent / "peer_tokenizer.py"
_NEEDS_TOKENIZERS = ("aiperf", "vllm bench serve", "guidellm", "inference-perf")


def install(folder: Path, names: Sequence[str], pythons: Sequence[str]) -> list[str]:
    """The peers in `names` (all where none are named); what went wrong, a line each."""
    wrong: list[str] = []
    folder.mkdir(parents=True, exist_ok=True)
    for peer in [PEERS[name] for name in names] or list(PEERS.values()):
        if peer.packages:
            wrong += _install(peer, folder, pythons)
    if not (folder / "tokenizer").exists():
        wrong += _tokenizer(folder)
    return wrong


def _install(peer: Peer, folder: Path, pythons: Sequence[str]) -> list[str]:
    home = peer.home(folder)
    if peer.installed(folder):
        print(f"{peer.name} {peer.version(folder)}: is there", flush=True)
        return []
    python = next((found for found in pythons if _version(found) >= peer.python), "")
    if not python:
        needed = ".".join(map(str, peer.python))
        return [f"{peer.name}: no Python {needed} or later among {', '.join(pythons)}: name one with --python"]
    print(f"{peer.name}: {' '.join(peer.packages)} with {python}", flush=True)
    pip = (str(home / "bin" / "python"), "-m", "pip")
    steps = (
        [python, "-m", "venv", "--clear", str(home)],
        [*pip, "install", "--quiet", *peer.packages],
        *([[*pip, "uninstall", "--quiet", "--yes", *peer.without]] if peer.without else []),
    )
    for step in steps:
        made = subprocess.run(step, capture_output=True, text=True, check=False)
        if made.returncode:
            shutil.rmtree(home, ignore_errors=True)
            return [
                f"{peer.name}: {' '.join(step[:4])} ... ended with status {made.returncode}: {made.stderr.strip()[-600:]}"
            ]
    return []


def _tokenizer(folder: Path) -> list[str]:
    homes = [PEERS[name].home(folder) / "bin" / "python" for name in _NEEDS_TOKENIZERS if PEERS[name].installed(folder)]
    if not homes:
        return []
    made = subprocess.run([homes[0], _TRAIN, folder / "tokenizer"], capture_output=True, text=True, check=False)
    return [f"tokenizer: {made.stderr.strip()[-600:]}"] if made.returncode else []


def _version(python: str) -> tuple[int, int]:
    """(0, 0) where it does not run."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return (0, 0)
    return (int(said[0]), int(said[1]))


def found_pythons(given: Sequence[str]) -> list[str]:
    """Interpreters to try, the given ones first."""
    return [*given, sys.executable, *(found for minor in (12, 13) if (found := shutil.which(f"python3.{minor}")))]

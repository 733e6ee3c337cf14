"""From what a plan calls its corpus to the compiled file that its agents replay: one pass, one trajectory in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from openagentperf import rundir
from openagentperf.corpus import shape, tokens
from openagentperf.corpus.compiler import CompileOptions, compile_corpus
from openagentperf.corpus.formats.skips import Skips
from openagentperf.corpus.layout import SUFFIX
from openagentperf.corpusfile import is_compiled, open_corpus
from openagentperf.corpusjobs.fitting import Fitting
from openagentperf.corpusjobs.recordings import read_recordings
from openagentperf.corpusjobs.sealed import root_of
from openagentperf.corpusjobs.store import is_native, read_set
from openagentperf.errors import CorpusError
from openagentperf.plan import Workload
from openagentperf.records.card import Card
from openagentperf.records.trajectory import Skipped, Trajectory
from openagentperf.units import ns_to_s, s_to_ns
from openagentperf.wire.chat import encode_message

DIALECT = "chat"


class About(Struct, frozen=True, kw_only=True):
    """What a compiled file says about itself (JSON): whoever gets the file alone can still print its card."""

    card: Card
    """Of the trajectories as compiled (cut to the context, delays to `max_tool_delay_s`); drawn delays are only counted in the notes."""
    notes: tuple[str, ...] = ()
    sealed_root: str = ""
    """Root of the sealed set that it was compiled from (corpusjobs.sealed.root_of); "" where it is none."""


class Prepared(Struct, frozen=True, kw_only=True):
    """A corpus ready to be replayed."""

    path: Path
    """`<first 16 hex of digest>.oapc`; or the compiled file that the plan named, where it lies."""
    digest: str
    card: Card
    notes: tuple[str, ...]
    """What was cut, left out or drawn, with numbers; for the result."""
    sealed_root: str = ""
    skipped: tuple[Skipped, ...]
    """Lines, files and trajectories that could not be used, each with its reason."""


def prepare(workload: Workload, seed: int, folder: Path) -> Prepared:
    """Compile `workload.corpus` into `folder`; a compiled file is checked and taken as it is.

    workload.corpus is a generator profile (which wins over a file of that name: write ./demo for the file), a compiled file, a native set
    (folder or file), or recordings (a file or a folder, told apart by their content).

    Every trajectory is cut to `max_context_tokens`, proven to have a byte-stable prefix, its delays cut to `max_tool_delay_s` and drawn
    where it lacks them, and encoded. The same corpus, plan and seed give the same bytes, so that preparing again replaces the file by its
    equal.

    CorpusError where nothing is there, nothing is usable, or a compiled file is broken or does not fit the plan. StorageError where the
    folder cannot be written.
    """
    path = Path(workload.corpus)
    if workload.corpus not in shape.PROFILES and (path.suffix == SUFFIX or is_compiled(path)):
        return _take(path, workload)
    root = "" if workload.corpus in shape.PROFILES else root_of(path)
    skipped = Skips()
    fitting = Fitting(workload, seed, skipped)
    about: list[About] = []

    def describe() -> bytes:
        about.append(About(card=fitting.maker.card(), notes=fitting.notes(), sealed_root=root))
        return msgspec.json.encode(about[0])

    with rundir.atomic_named(folder) as (file, set_name):
        summary = compile_corpus(
            fitting.passing(_trajectories(workload, seed, skipped)),
            encode_message,
            CompileOptions(dialect=DIALECT, about=describe),
            file.write,
        )
        name = summary.digest[:16] + SUFFIX
        set_name(name)
    return Prepared(
        path=folder / name,
        digest=summary.digest,
        card=about[0].card,
        notes=about[0].notes,
        sealed_root=root,
        skipped=tuple(skipped),
    )


def _trajectories(workload: Workload, seed: int, skipped: list[Skipped]) -> Iterator[Trajectory]:
    name, path = workload.corpus, Path(workload.corpus)
    if name in shape.PROFILES:
        return shape.generate(shape.PROFILES[name], workload.trajectories, seed, tokens.estimate)
    if not path.exists():
        raise CorpusError(
            name,
            "is neither a profile nor a file or folder",
            f"one of {', '.join(shape.PROFILES)} or a path is needed",
            "correct workload.corpus",
        )
    return read_set(path, skipped) if is_native(path) else read_recordings(path, skipped)


def _take(path: Path, workload: Workload) -> Prepared:
    compiled = open_corpus(path)
    if not compiled.trajectories:
        raise CorpusError(str(path), "holds no trajectory", "at least one is needed", "compile another set")
    if compiled.dialect != DIALECT:
        raise CorpusError(
            str(path), f"speaks the dialect `{compiled.dialect}`", f"`{DIALECT}` is needed", "compile it again"
        )
    if compiled.longest_tokens > workload.max_context_tokens:
        raise CorpusError(
            str(path),
            f"has a turn of {compiled.longest_tokens} tokens, input and output together",
            f"workload.max_context_tokens allows {workload.max_context_tokens}",
            "raise it, or prepare from the recordings, which are then cut",
        )
    limit_s = workload.max_tool_delay_s
    if limit_s is not None and compiled.longest_delay_ns > s_to_ns(limit_s):
        raise CorpusError(
            str(path),
            f"has a tool delay of {ns_to_s(compiled.longest_delay_ns):,.1f} s",
            f"workload.max_tool_delay_s allows {limit_s:g} s",
            "raise it, or prepare from the recordings, whose delays are then cut",
        )
    try:
        about = msgspec.json.decode(compiled.about, type=About)
    except msgspec.DecodeError as error:
        raise CorpusError(
            str(path), f"has no readable card ({error})", "every compiled corpus carries one", "compile it again"
        ) from error
    return Prepared(
        path=path, digest=compiled.digest, card=about.card, notes=about.notes, sealed_root=about.sealed_root, skipped=()
    )

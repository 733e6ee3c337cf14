"""From what a plan calls its corpus to the compiled file that its agents replay: one pass, one trajectory in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from openagentperf import rundir
from openagentperf.corpus import shape, tokens
from openagentperf.corpus.card import CardMaker
from openagentperf.corpus.compiler import CompileOptions, compile_corpus
from openagentperf.corpus.fit import cut, fault, missing_delays, with_delays
from openagentperf.corpus.layout import SUFFIX
from openagentperf.corpus.prefix import prove
from openagentperf.corpusfile import is_compiled, open_corpus
from openagentperf.corpusjobs.recordings import read_recordings
from openagentperf.corpusjobs.store import is_native, read_set
from openagentperf.errors import CorpusError, OpenAgentPerfError
from openagentperf.plan import Workload
from openagentperf.records.card import Card
from openagentperf.records.trajectory import Skipped, Trajectory
from openagentperf.wire.chat import encode_message

DIALECT = "chat"


class About(Struct, frozen=True, kw_only=True):
    """What a compiled file says about itself (JSON): whoever gets the file alone can still print its card."""

    card: Card
    """Of the trajectories as compiled (cut to the context), with delays as recorded: drawn ones are counted in the notes."""
    notes: tuple[str, ...] = ()


class Prepared(Struct, frozen=True, kw_only=True):
    """A corpus ready to be replayed."""

    path: Path
    """`<first 16 hex of digest>.oapc`; or the compiled file that the plan named, where it lies."""
    digest: str
    card: Card
    notes: tuple[str, ...]
    """What was cut, left out or drawn, with numbers."""
    skipped: tuple[Skipped, ...]
    """Lines, files and trajectories that could not be used, each with its reason."""


def prepare(workload: Workload, seed: int, folder: Path) -> Prepared:
    """Compile `workload.corpus` into `folder`; a compiled file is checked and taken as it is.

    workload.corpus is a generator profile (which wins over a file of that name: write ./demo for the file), a compiled file, a native set
    (folder or file), or recordings (a file or a folder, told apart by their content).

    Every trajectory is cut to `max_context_tokens`, proven to have a byte-stable prefix, given the delays it lacks, and encoded. The same
    corpus, plan and seed give the same bytes, so that preparing again replaces the file by its equal.

    CorpusError where nothing is there, nothing is usable, or a compiled file is broken or does not fit the plan. StorageError where the
    folder cannot be written.
    """
    path = Path(workload.corpus)
    if workload.corpus not in shape.PROFILES and (path.suffix == SUFFIX or is_compiled(path)):
        return _take(path, workload)
    skipped: list[Skipped] = []
    fitting = _Fitting(workload, seed, skipped)
    about: list[About] = []

    def describe() -> bytes:
        about.append(About(card=fitting.maker.card(), notes=fitting.notes()))
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
    try:
        about = msgspec.json.decode(compiled.about, type=About)
    except msgspec.DecodeError as error:
        raise CorpusError(
            str(path), f"has no readable card ({error})", "every compiled corpus carries one", "compile it again"
        ) from error
    return Prepared(path=path, digest=compiled.digest, card=about.card, notes=about.notes, skipped=())


class _Fitting:
    """Passes on the trajectories that can be replayed, fitted to the plan, and keeps count of the rest."""

    def __init__(self, workload: Workload, seed: int, skipped: list[Skipped]) -> None:
        self._workload, self._seed, self._skipped = workload, seed, skipped
        self._count: Counter[str] = Counter()
        self.maker = CardMaker("estimate")

    def passing(self, trajectories: Iterable[Trajectory]) -> Iterator[Trajectory]:
        limit = self._workload.max_context_tokens
        count = self._count
        for whole in trajectories:
            count["read"] += 1
            if why := fault(whole):
                count["broken"] += 1
                self._skip(whole, why)
                continue
            trajectory = cut(whole, limit)
            if trajectory is None:
                count["too long"] += 1
                continue
            count["shortened"] += trajectory is not whole
            count["turns cut"] += len(whole.turns) - len(trajectory.turns)
            if not self._stable(trajectory):
                continue
            count["passed"] += 1
            count["delays drawn"] += missing_delays(trajectory)
            self.maker.add(trajectory)
            yield with_delays(trajectory, self._seed)
        if not count["passed"]:
            raise self._nothing_left()

    def _stable(self, trajectory: Trajectory) -> bool:
        """Whether the prefix is stable, or broken only where that is declared or allowed."""
        proof = prove(trajectory, encode_message)
        if proof.encoder:
            raise OpenAgentPerfError(
                trajectory.id,
                f"turn {proof.encoder[0].turn} encodes messages of the turn before to other bytes",
                "equal messages must give equal bytes",
                "report this with the recording",
            )
        if not proof.undeclared:
            return True
        if self._workload.allow_rewritten_history:
            self._count["marked"] += 1
            self._count["rewrites"] += len(proof.undeclared)
            return True
        first = proof.undeclared[0]
        self._count["refused"] += 1
        self._skip(
            trajectory,
            f"turn {first.turn} rewrites its history without declaring it (of {first.of_bytes} bytes {first.kept_bytes} "
            "stay as they were): set workload.allow_rewritten_history to take it as it is",
        )
        return False

    def _skip(self, trajectory: Trajectory, why: str) -> None:
        self._skipped.append(Skipped(f"{trajectory.source or self._workload.corpus}, {trajectory.id}", why))

    def notes(self) -> tuple[str, ...]:
        count, limit = self._count, self._workload.max_context_tokens
        lines = {
            "shortened": f"{{}} trajectories were cut to {limit} tokens of context ({count['turns cut']} turns left out)",
            "too long": f"{{}} trajectories were left out: their first turn is longer than {limit} tokens",
            "refused": "{} trajectories were left out: they rewrite their history without declaring it",
            "marked": f"{{}} trajectories, taken as they are, rewrite their history {count['rewrites']} times undeclared",
            "delays drawn": "{} tool delays that the recordings lack were drawn (log-normal, median 1 s, sigma 1.3, 0.1 to 60 s)",
        }
        return tuple(text.format(count[name]) for name, text in lines.items() if count[name])

    def _nothing_left(self) -> CorpusError:
        count = self._count
        reasons = (
            (count["broken"], "broken", "import the recordings anew"),
            (count["too long"], "too long for the context", "raise workload.max_context_tokens"),
            (count["refused"], "rewriting their history undeclared", "set workload.allow_rewritten_history"),
        )
        found = ", ".join(f"{number} {why}" for number, why, _ in reasons if number)
        fixes = [fix for number, _, fix in reasons if number] or ["import or build trajectories"]
        return CorpusError(
            self._workload.corpus,
            f"leaves no trajectory to replay ({count['read']} read" + (f": {found})" if found else ")"),
            "at least one is needed",
            ", or ".join(fixes),
        )

"""Seal a set: publish what pins it, give what opens it to its recipients, and check later that a revealed set is the sealed one.

seal      DIR/commitment.json   the pin and the card: public
          DIR/sealed.age        the set, encrypted (age format around gzip): safe to publish, opens with a recipient's key
          DIR/public/           the tuning part, a native set, where one was asked for
unseal    SET/trajectories.jsonl, SET/opening.json (the salts: secret until the set is revealed)
reveal    the set or some of its trajectories with their salts, to be published
check     a revealed folder against a commitment
"""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec
from msgspec import Struct

from openagentperf import rundir, sealing
from openagentperf.corpus import commitment, split
from openagentperf.corpus.card import CardMaker
from openagentperf.corpusjobs.build import CARD_NAME
from openagentperf.corpusjobs.store import SET_NAME, read_set, set_path, write_set
from openagentperf.errors import CorpusError, UsageError
from openagentperf.records.seal import Commitment, Opening
from openagentperf.records.trajectory import Skipped, Trajectory

SEALED, COMMITMENT, OPENING, PUBLIC = "sealed.age", "commitment.json", "opening.json", "public"
_GZIP = 31
_encode = msgspec.json.Encoder().encode
_T = TypeVar("_T", Commitment, Opening)


class _Header(Struct, frozen=True, kw_only=True):
    """First line inside `sealed.age`; the trajectories follow, one a line."""

    schema: str = "openagentperf/sealed/1"
    master: str


class Sealed(Struct, frozen=True, kw_only=True):
    """What `seal` made."""

    root: str
    sealed: int
    """Trajectories in the sealed part."""
    public: int
    tasks: int
    """Groups of trajectories that share a task, in both parts."""
    shared_messages: int
    messages: int
    skipped: tuple[Skipped, ...]


class Checked(Struct, frozen=True, kw_only=True):
    """A revealed set that is what was committed to."""

    name: str
    root: str
    revealed: int
    of: int


def seal(
    source: Path, out: Path, to: Sequence[str], *, public_share: float = 0.0, seed: int = 1, name: str = ""
) -> Sealed:
    """Split the native set at `source`, publish the pin of the sealed part and encrypt it to `to`.

    public_share  of the trajectories, 0 .. below 1, in whole tasks (corpus.split)
    name          of the set, for its commitment; by default the folder's

    CorpusError: no set, or nothing is left to be sealed. UsageError: no usable recipient, or a share outside 0..1. StorageError.
    """
    if not 0 <= public_share < 1:
        raise UsageError("public share", f"is {public_share:g}", "0 or more and less than 1 is needed", "lower it")
    sealing.recipients(to)  # before anything is read or written
    skipped: list[Skipped] = []
    task_keys: list[tuple[bytes, ...]] = []
    texts: list[frozenset[bytes]] = []
    for trajectory in read_set(source, skipped):
        task_keys.append(split.keys(trajectory))
        texts.append(frozenset(split.long_messages(trajectory)))
    public = split.public_places(task_keys, public_share, seed)
    if len(public) == len(task_keys):
        raise CorpusError(
            str(source),
            f"has no task of its own for the sealed part (trajectories: {len(task_keys)})",
            "the public and the sealed part share no task",
            "lower --public, or add recordings of other tasks",
        )
    known = frozenset(itertools.chain.from_iterable(texts[place] for place in public))
    told = [text for place, found in enumerate(texts) if place not in public for text in found]

    def part(of_public: bool) -> Iterator[Trajectory]:
        for place, trajectory in enumerate(read_set(source, [])):
            if (place in public) is of_public:
                yield trajectory

    digest = _write_public(out / PUBLIC, part(True)) if public else ""
    maker, leaves = CardMaker(), list[str]()
    with rundir.atomic(out / SEALED) as file:
        sealing.encrypt(_compressed(_plain(part(False), maker, leaves)), file, to)
    pin = Commitment(
        name=name or source.resolve().name,
        root=commitment.root(leaves),
        leaves=tuple(leaves),
        turns=maker.card().turns,
        card=maker.card(),
        public=digest,
        shared_messages=sum(text in known for text in told),
        messages=len(told),
    )
    rundir.write(out / COMMITMENT, msgspec.json.format(_encode(pin)) + b"\n")
    return Sealed(
        root=pin.root,
        sealed=len(leaves),
        public=len(public),
        tasks=split.tasks(task_keys),
        shared_messages=pin.shared_messages,
        messages=pin.messages,
        skipped=tuple(skipped),
    )


def unseal(folder: Path, identity: Path, out: Path) -> Checked:
    """Decrypt `folder`/sealed.age into the native set `out`, checked line by line against the commitment beside it.

    CorpusError: the key does not fit, the file is not whole, or is not the set that was committed to; then no set is written.
    """
    pin = _commitment(folder / COMMITMENT)
    with rundir.atomic(out / SET_NAME) as file:
        plain = _Plain(file, pin, folder / SEALED)
        sealing.decrypt(folder / SEALED, identity, plain)  # type: ignore[arg-type]  # a file, as far as it is written to
        master = plain.finish()
    salts = {index: commitment.salt(master, index).hex() for index in range(len(pin.leaves))}
    rundir.write(out / OPENING, _encode(Opening(root=pin.root, salts=salts)) + b"\n")
    return Checked(name=pin.name, root=pin.root, revealed=len(salts), of=len(pin.leaves))


def reveal(source: Path, out: Path, only: Sequence[str] = ()) -> int:
    """Write the unsealed set at `source`, or its trajectories called `only`, with their salts to `out`; returns how many.

    CorpusError: no unsealed set there, or a name that it does not hold.
    """
    opening = _opening(source / OPENING)
    places = sorted(opening.salts)
    wanted = set(only)
    kept: dict[int, str] = {}

    def chosen() -> Iterator[Trajectory]:
        for place, trajectory in zip(places, read_set(source, []), strict=True):
            if not only or trajectory.id in wanted:
                wanted.discard(trajectory.id)
                kept[place] = opening.salts[place]
                yield trajectory

    count = write_set(out, chosen())
    if wanted:
        set_path(out).unlink()
        raise CorpusError(
            str(source), f"holds no trajectory {min(wanted)!r}", "every one named is needed", "check its id"
        )
    rundir.write(out / OPENING, _encode(Opening(root=opening.root, salts=kept)) + b"\n")
    return count


def check(revealed: Path, pin_path: Path) -> Checked:
    """Check a revealed set against the commitment that was published before. CorpusError, with the place, where it is another set."""
    pin, opening = _commitment(pin_path), _opening(revealed / OPENING)
    try:
        with (revealed / SET_NAME).open("rb") as file:
            why = commitment.mismatch(pin.leaves, opening.salts, (line.rstrip(b"\n") for line in file))
    except OSError as error:
        raise CorpusError(
            str(revealed), f"cannot be read ({error.strerror})", "a revealed set is needed", "check the path"
        ) from error
    if why or not opening.salts:
        raise CorpusError(
            str(revealed),
            why or "reveals nothing",
            f"the set committed to in {pin_path} is needed",
            "do not believe results on this set: ask its owner",
        )
    return Checked(name=pin.name, root=pin.root, revealed=len(opening.salts), of=len(pin.leaves))


def root_of(source: Path) -> str:
    """The root that the unsealed set at `source` opens, all of it; "" where it is no unsealed set, or only a part of one.

    A result that carries it says: measured on the set that was committed to under this name. CorpusError where the set has changed.
    """
    path = source / OPENING
    if not source.is_dir() or not path.exists():
        return ""
    opening = _opening(path)
    leaves: list[str] = []
    try:
        with (source / SET_NAME).open("rb") as file:
            for place, line in enumerate(file):
                leaves.append(commitment.leaf(bytes.fromhex(opening.salts.get(place, "")), line.rstrip(b"\n")))
        whole = sorted(opening.salts) == list(range(len(leaves)))
        if whole and commitment.root(leaves) == opening.root:
            return opening.root
    except (OSError, ValueError):
        whole = True
    if not whole:
        return ""
    raise CorpusError(
        str(source),
        "is not the set that its opening.json opens: it was changed after it was unsealed",
        "the set as it was sealed is needed",
        "unseal it again, or remove opening.json to use it as an ordinary set",
    )


def _write_public(folder: Path, trajectories: Iterable[Trajectory]) -> str:
    """The tuning part with its card; returns the file's sha256."""
    maker = CardMaker()

    def counted() -> Iterator[Trajectory]:
        for trajectory in trajectories:
            maker.add(trajectory)
            yield trajectory

    write_set(folder, counted())
    rundir.write(folder / CARD_NAME, msgspec.json.format(_encode(maker.card())) + b"\n")
    with (folder / SET_NAME).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(trajectories: Iterable[Trajectory], maker: CardMaker, leaves: list[str]) -> Iterator[bytes]:
    """What is encrypted. Counts the card and gathers the leaves on the way."""
    master = sealing.random_bytes(commitment.SALT_BYTES)
    yield _encode(_Header(master=master.hex())) + b"\n"
    for index, trajectory in enumerate(trajectories):
        maker.add(trajectory)
        line = _encode(trajectory)
        leaves.append(commitment.leaf(commitment.salt(master, index), line))
        yield line + b"\n"


def _compressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    squeeze = zlib.compressobj(wbits=_GZIP)
    for piece in pieces:
        if data := squeeze.compress(piece):
            yield data
    yield squeeze.flush()


class _Plain:
    """Takes the decrypted bytes, unpacks them, and writes each line that is the next one committed to."""

    def __init__(self, file: BinaryIO, pin: Commitment, where: Path) -> None:
        self._file, self._pin, self._where = file, pin, where
        self._unpack = zlib.decompressobj(wbits=_GZIP)
        self._left: list[bytes] = []
        """The line that has begun, in pieces: a line of 5 MB comes in 80 of them."""
        self._master: bytes | None = None
        self._count = 0
        self._why = ""

    def write(self, data: bytes) -> int:
        try:
            unpacked = self._unpack.decompress(data)
        except zlib.error as error:
            self._why = self._why or f"holds something else than a sealed set ({error})"
            return len(data)
        first, *rest = unpacked.split(b"\n")
        self._left.append(first)
        for piece in rest:  # each ends the line before it
            self._take(b"".join(self._left))
            self._left = [piece]
        return len(data)

    def flush(self) -> None:
        """Nothing: the file is flushed when it is whole."""

    def finish(self) -> bytes:
        """The master salt. CorpusError where the set is not the one that was committed to, whole."""
        if not self._why and self._master is None:
            self._why = "holds something else than a sealed set"
        if not self._why and (any(self._left) or not self._unpack.eof or self._count != len(self._pin.leaves)):
            self._why = f"holds {self._count} trajectories of the {len(self._pin.leaves)} that were committed to"
        if self._why or self._master is None:
            raise CorpusError(
                str(self._where),
                self._why,
                f"the set committed to in {COMMITMENT} is needed",
                "get both from its owner anew",
            )
        return self._master

    def _take(self, line: bytes) -> None:
        if self._why:
            return
        if self._master is None:
            try:
                self._master = bytes.fromhex(msgspec.json.decode(line, type=_Header).master)
            except ValueError as error:
                self._why = f"holds something else than a sealed set ({error})"
            return
        index = self._count
        self._count += 1
        leaves = self._pin.leaves
        if index >= len(leaves) or commitment.leaf(commitment.salt(self._master, index), line) != leaves[index]:
            self._why = f"trajectory {index} is not the one that was committed to"
            return
        self._file.write(line + b"\n")


def _commitment(path: Path) -> Commitment:
    pin = _read(path, Commitment, "a commitment is needed", "take it from the folder that `corpus seal` made")
    try:
        same = commitment.root(pin.leaves) == pin.root
    except ValueError:
        same = False
    if not same:
        raise CorpusError(
            str(path), "has changed (its root is not that of its leaves)", "the published one is needed", "get it anew"
        )
    return pin


def _opening(path: Path) -> Opening:
    return _read(path, Opening, "the salts of a revealed set are needed", "`corpus unseal` writes them beside the set")


def _read(path: Path, kind: type[_T], needed: str, fix: str) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise CorpusError(str(path), f"cannot be read ({error.strerror})", needed, fix) from error
    except msgspec.DecodeError as error:
        raise CorpusError(str(path), f"is not readable ({error})", needed, fix) from error

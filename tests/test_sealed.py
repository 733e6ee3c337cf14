"""A sealed set: opens for its recipients alone, cannot be swapped afterwards, and shares no task with its public part."""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf import sealing
from openagentperf.cli.main import main
from openagentperf.corpus import commitment, split
from openagentperf.corpusjobs import sealed
from openagentperf.corpusjobs.keys import write_key
from openagentperf.corpusjobs.prepare import prepare
from openagentperf.corpusjobs.store import SET_NAME, read_set, write_set
from openagentperf.errors import CorpusError, StorageError, UsageError
from openagentperf.plan import Workload
from openagentperf.records.seal import Commitment, Opening
from openagentperf.records.trajectory import Message, Trajectory, Turn


def asked(id: str, *said: str, task: str = "", result: str = "") -> Trajectory:
    first = (
        Message(role="system", content="You fix bugs. " * 30),
        *(Message(role="user", content=text) for text in said),
    )
    second = (Message(role="assistant", content="ok"), Message(role="tool", content=result, tool_call_id="c"))
    turns = (
        Turn(appended=first, output_tokens=1, input_tokens=9),
        Turn(appended=second, output_tokens=1, input_tokens=20),
    )
    return Trajectory(id=id, turns=turns, task=task)


LONG = "Rewrite the parser so that a missing bracket is named with its line. "
SET = [asked(f"s{n}", f"{n}: {LONG}") for n in range(10)]


def made(tmp_path: Path, *, public: float = 0.0) -> tuple[Path, str]:
    """A sealed folder and its recipient; the key is in `key`."""
    write_set(tmp_path / "set", SET)
    recipient = write_key(tmp_path / "key")
    sealed.seal(tmp_path / "set", tmp_path / "pub", [recipient], public_share=public)
    return tmp_path / "pub", recipient


def pin_of(folder: Path) -> Commitment:
    return msgspec.json.decode((folder / sealed.COMMITMENT).read_bytes(), type=Commitment)


def test_seal_unseal_reveal_check(tmp_path: Path) -> None:
    pub, _ = made(tmp_path, public=0.3)
    assert sorted(p.name for p in pub.iterdir()) == ["commitment.json", "public", "sealed.age"]
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    opened = sealed.unseal(pub, tmp_path / "key", tmp_path / "open")
    assert (opened.revealed, opened.of, opened.name) == (7, 7, "set")
    inside = list(read_set(tmp_path / "open", []))
    outside = list(read_set(pub / "public", []))
    assert len(outside) == 3
    assert sorted(t.id for t in inside + outside) == sorted(t.id for t in SET)
    assert sealed.reveal(tmp_path / "open", tmp_path / "two", [inside[1].id, inside[4].id]) == 2
    assert sealed.check(tmp_path / "two", pub / sealed.COMMITMENT).revealed == 2
    opening = msgspec.json.decode((tmp_path / "two" / sealed.OPENING).read_bytes(), type=Opening)
    assert list(opening.salts) == [1, 4]


def test_what_is_published_holds_no_text_of_the_sealed_part(tmp_path: Path) -> None:
    pub, _ = made(tmp_path)
    for file in (pub / sealed.COMMITMENT, pub / sealed.SEALED):
        assert b"bracket" not in file.read_bytes()
        assert (
            b"s3" not in file.read_bytes() or file.name == sealed.SEALED
        )  # ids are text too; two bytes may fall anywhere in ciphertext


def test_a_run_on_an_opened_set_carries_its_root(tmp_path: Path) -> None:
    pub, _ = made(tmp_path)
    opened = tmp_path / "open"
    sealed.unseal(pub, tmp_path / "key", opened)
    workload = Workload(corpus=str(opened))
    ready = prepare(workload, 1, tmp_path / "corpora")
    assert ready.sealed_root == pin_of(pub).root
    assert prepare(Workload(corpus=str(ready.path)), 1, tmp_path / "corpora").sealed_root == pin_of(pub).root
    sealed.reveal(opened, tmp_path / "two", ["s1", "s4"])
    assert sealed.root_of(tmp_path / "two") == ""
    assert sealed.root_of(tmp_path / "set") == ""
    path = opened / SET_NAME
    path.write_bytes(path.read_bytes().replace(b"7: Rewrite", b"7: Rewrote"))
    with pytest.raises(CorpusError, match="was changed after it was unsealed"):
        prepare(workload, 1, tmp_path / "corpora")


def test_a_swapped_trajectory_is_found(tmp_path: Path) -> None:
    pub, _ = made(tmp_path)
    sealed.unseal(pub, tmp_path / "key", tmp_path / "open")
    sealed.reveal(tmp_path / "open", tmp_path / "shown")
    path = tmp_path / "shown" / SET_NAME
    path.write_bytes(path.read_bytes().replace(b"7: Rewrite", b"7: Rewrote"))
    with pytest.raises(CorpusError, match="trajectory 7 is not the one that was committed to"):
        sealed.check(tmp_path / "shown", pub / sealed.COMMITMENT)


def test_another_set_under_the_old_commitment_does_not_open(tmp_path: Path) -> None:
    pub, recipient = made(tmp_path)
    write_set(tmp_path / "easier", SET[:9])
    sealed.seal(tmp_path / "easier", tmp_path / "other", [recipient])
    shutil.copy(tmp_path / "other" / sealed.SEALED, pub / sealed.SEALED)
    with pytest.raises(CorpusError, match="trajectory 0 is not the one that was committed to"):
        sealed.unseal(pub, tmp_path / "key", tmp_path / "open")
    assert not (tmp_path / "open" / SET_NAME).exists()


def test_a_commitment_edited_by_hand_is_refused(tmp_path: Path) -> None:
    pub, _ = made(tmp_path)
    pin = pin_of(pub)
    (pub / sealed.COMMITMENT).write_bytes(msgspec.json.encode(msgspec.structs.replace(pin, leaves=pin.leaves[:-1])))
    with pytest.raises(CorpusError, match="its root is not that of its leaves"):
        sealed.unseal(pub, tmp_path / "key", tmp_path / "open")


def test_every_way_in_which_a_sealed_file_does_not_open(tmp_path: Path) -> None:
    pub, _ = made(tmp_path)
    write_key(tmp_path / "strange")
    whole = (pub / sealed.SEALED).read_bytes()
    (tmp_path / "none").write_text("# no key\n")
    (tmp_path / "text").write_text("hello\n")
    rows: list[tuple[bytes, str, type[Exception], str]] = [
        (whole, "strange", CorpusError, "No matching keys found"),
        (whole[:-1], "key", CorpusError, "cannot be read to its end"),
        (whole[:40], "key", CorpusError, "cannot be opened"),
        (b"", "key", CorpusError, "cannot be opened"),
        (whole, "none", UsageError, "holds no key"),
        (whole, "text", UsageError, "holds a line that is no key"),
        (whole, "missing", UsageError, "cannot be read"),
    ]
    for data, key, kind, words in rows:
        (pub / sealed.SEALED).write_bytes(data)
        with pytest.raises(kind, match=words):
            sealed.unseal(pub, tmp_path / key, tmp_path / "open")
        assert not (tmp_path / "open" / SET_NAME).exists()
    with (tmp_path / "plain").open("wb") as file:
        sealing.encrypt(iter([b"no set"]), file, [write_key(tmp_path / "key2")])
    shutil.copy(tmp_path / "plain", pub / sealed.SEALED)
    with pytest.raises(CorpusError, match="something else than a sealed set"):
        sealed.unseal(pub, tmp_path / "key2", tmp_path / "open")


def test_recipients_come_as_text_and_as_files(tmp_path: Path) -> None:
    _, first = sealing.new_key()
    _, second = sealing.new_key()
    (tmp_path / "team").write_text(f"# the team\n{first}\n\n{second}\n")
    assert len(sealing.recipients([str(tmp_path / "team"), second])) == 3
    for bad in ("age1nope", "hello", str(tmp_path / "missing")):
        with pytest.raises(UsageError, match="is none"):
            sealing.recipients([bad])
    with pytest.raises(UsageError, match="at least one"):
        sealing.recipients([])


def test_an_ssh_key_opens_too(tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen here: install openssh-client")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "id"], check=True)
    write_set(tmp_path / "set", SET)
    sealed.seal(tmp_path / "set", tmp_path / "pub", [(tmp_path / "id.pub").read_text().strip()])
    assert sealed.unseal(tmp_path / "pub", tmp_path / "id", tmp_path / "open").revealed == len(SET)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    write_key(tmp_path / "key")
    with pytest.raises(UsageError, match="is there already"):
        write_key(tmp_path / "key")


def test_a_disk_that_refuses_is_named_though_the_library_swallows_it() -> None:
    with open("/dev/full", "wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        sealing.encrypt(iter([b"x" * 200_000]), file, [sealing.new_key()[1]])


def test_what_goes_wrong_while_a_set_is_read_comes_out_as_it_is(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x"
        raise CorpusError("set", "is gone")

    with (tmp_path / "f").open("wb") as file, pytest.raises(CorpusError, match="is gone"):
        sealing.encrypt(pieces(), file, [sealing.new_key()[1]])


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    write_set(tmp_path / "set", SET)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        sealed.seal(tmp_path / "set", tmp_path / "file", [sealing.new_key()[1]])


SPLITS = {
    # rows: trajectories, how many tasks
    "other words": ([asked("a", "1" + LONG), asked("b", "2" + LONG)], 2),
    "the same words, other spaces": ([asked("a", LONG), asked("b", LONG.replace(" ", "  "))], 1),
    "the same last words behind another environment": ([asked("a", "cwd /x", LONG), asked("b", "cwd /y", LONG)], 1),
    "a short last word links nothing": ([asked("a", "cwd /x", "go on"), asked("b", "cwd /y", "go on")], 2),
    "one task by name": ([asked("a", "x", task="t-1"), asked("b", "y", task="t-1")], 1),
    "parts of one session": ([asked("a", "x"), asked("a:agent", "y"), asked("a~2", "z")], 1),
    "linked through a third": ([asked("a", "x", task="t"), asked("b", LONG, task="t"), asked("c", LONG)], 1),
}


@pytest.mark.parametrize("name", SPLITS)
def test_what_is_one_task(name: str) -> None:
    corpus, want = SPLITS[name]
    assert split.tasks([split.keys(trajectory) for trajectory in corpus]) == want


@given(
    st.lists(st.lists(st.integers(0, 8), min_size=1, max_size=3), min_size=1, max_size=30),
    st.floats(0, 0.99),
    st.integers(0, 5),
)
def test_no_key_stands_on_both_sides(numbers: list[list[int]], share: float, seed: int) -> None:
    keys = [tuple(bytes([n]) for n in row) for row in numbers]
    public = split.public_places(keys, share, seed)
    assert public == split.public_places(keys, share, seed)
    inside = {key for place, row in enumerate(keys) if place in public for key in row}
    outside = {key for place, row in enumerate(keys) if place not in public for key in row}
    assert not inside & outside


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=6), st.binary(min_size=32, max_size=32), st.data())
def test_any_part_opens_and_any_change_shows(lines: list[bytes], master: bytes, data: st.DataObject) -> None:
    leaves = tuple(commitment.leaf(commitment.salt(master, n), line) for n, line in enumerate(lines))
    places = sorted(data.draw(st.sets(st.integers(0, len(lines) - 1), min_size=1)))
    salts = {n: commitment.salt(master, n).hex() for n in places}
    part = [lines[n] for n in places]
    assert commitment.mismatch(leaves, salts, part) == ""
    spoiled = data.draw(st.integers(0, len(part) - 1))
    assert commitment.mismatch(leaves, salts, [*part[:spoiled], part[spoiled] + b" ", *part[spoiled + 1 :]])
    assert commitment.mismatch(leaves, salts, part[:-1])
    assert commitment.mismatch(leaves, salts, [*part, b""])
    assert commitment.mismatch(leaves[: places[-1]], salts, part)
    assert commitment.root(leaves) != commitment.root(leaves[:-1])


def test_a_set_of_one_task_cannot_be_split(tmp_path: Path) -> None:
    write_set(tmp_path / "set", [asked("a", LONG), asked("b", LONG)])
    with pytest.raises(CorpusError, match="no task of its own for the sealed part"):
        sealed.seal(tmp_path / "set", tmp_path / "pub", [sealing.new_key()[1]], public_share=0.9)
    with pytest.raises(UsageError, match="less than 1"):
        sealed.seal(tmp_path / "set", tmp_path / "pub", [sealing.new_key()[1]], public_share=1.0)


def test_text_on_both_sides_is_counted(tmp_path: Path) -> None:
    file = "def f(): pass\n" * 40
    write_set(tmp_path / "set", [asked(f"s{n}", f"{n}: {LONG}", result=file) for n in range(4)])
    report = sealed.seal(tmp_path / "set", tmp_path / "pub", [sealing.new_key()[1]], public_share=0.5)
    assert (report.public, report.sealed) == (2, 2)
    assert (report.shared_messages, report.messages) == (2, 2)  # the file that both sides read; the prompts are short


def test_the_commands(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_set(tmp_path / "set", SET)
    assert main(["corpus", "keygen", "--out", str(tmp_path / "key")]) == 0
    recipient = capfd.readouterr().out.strip()
    steps = [
        ["seal", str(tmp_path / "set"), "--out", str(tmp_path / "pub"), "--to", recipient, "--public", "0.2"],
        ["unseal", str(tmp_path / "pub"), "--identity", str(tmp_path / "key"), "--out", str(tmp_path / "open")],
        ["reveal", str(tmp_path / "open"), "--out", str(tmp_path / "shown")],
        ["check", str(tmp_path / "shown"), "--commitment", str(tmp_path / "pub" / "commitment.json")],
    ]
    for step in steps:
        assert main(["corpus", *step, "--json"]) == 0
        answer = msgspec.json.decode(capfd.readouterr().out)
    assert (answer["revealed"], answer["of"], answer["root"]) == (8, 8, pin_of(tmp_path / "pub").root)
    assert main(["corpus", "keygen", "--out", str(tmp_path / "key")]) == 2

"""Encryption to recipients, in the `age` format: what is sealed here opens with the `age` tool too, and the other way round.

Needs the `seal` extra (pyrage); without it every function raises UsageError.
"""

from __future__ import annotations

import importlib
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from openagentperf.errors import CorpusError, UsageError

_CHUNK_BYTES = 1 << 16


def random_bytes(count: int) -> bytes:
    """Unpredictable bytes, for salts."""
    return secrets.token_bytes(count)


def new_key() -> tuple[str, str]:
    """A fresh key pair: the secret key as a key file's text (the form of `age-keygen`), and the recipient `age1...` to give away."""
    identity = _pyrage().x25519.Identity.generate()
    recipient = str(identity.to_public())
    return f"# public key: {recipient}\n{identity}\n", recipient


def recipients(given: Iterable[str]) -> list[Any]:
    """Recipients from `age1...`, `ssh-ed25519 ...` or `ssh-rsa ...` texts, or files with one a line (`#` begins a comment).

    UsageError for one that is neither, and where there is none.
    """
    pyrage = _pyrage()
    found: list[Any] = []
    for text in given:
        path = Path(text)
        lines = [text]
        if not text.startswith(("age1", "ssh-")) and path.is_file():
            lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
        for line in map(str.strip, lines):
            kind = pyrage.ssh.Recipient if line.startswith("ssh-") else pyrage.x25519.Recipient
            try:
                found.append(kind.from_str(line))
            except pyrage.RecipientError as error:
                raise UsageError(
                    f"recipient {line[:40]!r}",
                    f"is none ({error})",
                    "`age1...`, an ssh public key or a file of them is needed",
                    "`openagentperf corpus keygen` makes a pair",
                ) from error
    if not found:
        raise UsageError("recipients", "are none", "a set is sealed to at least one", "name one with --to")
    return found


def encrypt(pieces: Iterator[bytes], file: BinaryIO, to: Iterable[str]) -> None:
    """Write `pieces`, encrypted to each of `to`, to `file`; one piece in memory at a time.

    OSError where the file refuses; what `pieces` raises comes out as it is.
    """
    pyrage = _pyrage()
    reader, writer = _Reader(pieces), _Writer(file)
    failed: Exception | None = None
    try:
        pyrage.encrypt_io(reader, writer, recipients(to))
    except (pyrage.EncryptError, OSError) as error:
        failed = error
    # pyrage 1.4 wraps what a reader or writer raises, and swallows it where only its last buffer is affected.
    if cause := reader.failed or writer.failed or failed:
        raise cause


def decrypt(path: Path, identity: Path, file: BinaryIO) -> None:
    """Write the plain content of `path` to `file`.

    CorpusError: the key does not fit, the file was cut or changed, or is no age file. UsageError: no key in `identity`. OSError where
    `file` refuses. What was written before an error must not be used.
    """
    pyrage = _pyrage()
    writer = _Writer(file)
    keys = _identities(identity)
    try:
        with path.open("rb") as sealed:
            pyrage.decrypt_io(sealed, writer, keys)
    except pyrage.DecryptError as error:
        raise CorpusError(
            str(path),
            f"cannot be opened with {identity} ({error})",
            "a key that it was sealed to is needed",
            "use the key of one of its recipients, and check that the file is whole",
        ) from error
    except OSError as error:
        if writer.failed is not None:
            raise writer.failed from error
        raise CorpusError(
            str(path), f"cannot be read to its end ({error})", "a whole sealed file is needed", "copy it again"
        ) from error
    if writer.failed is not None:
        raise writer.failed


def _identities(path: Path) -> list[Any]:
    pyrage = _pyrage()
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            str(path), "cannot be read", "a key file is needed", "`openagentperf corpus keygen` makes one"
        ) from error
    try:
        if "PRIVATE KEY-----" in text:
            return [pyrage.ssh.Identity.from_buffer(text.encode())]
        lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
        found = list(map(pyrage.x25519.Identity.from_str, lines))
    except pyrage.IdentityError as error:
        raise UsageError(
            str(path),
            f"holds a line that is no key ({error})",
            "`AGE-SECRET-KEY-1...` or an ssh private key is needed",
            "use a file that `openagentperf corpus keygen` or age-keygen made",
        ) from error
    if not found:
        raise UsageError(
            str(path), "holds no key", "one is needed", "use a file that `openagentperf corpus keygen` made"
        )
    return found


def _pyrage() -> Any:
    try:
        # Imported here: an extra that a run never needs.
        return importlib.import_module("pyrage")
    except ImportError as error:
        raise UsageError(
            "sealing",
            f"pyrage cannot be imported ({error})",
            "it encrypts in the age format",
            "pip install 'openagentperf[seal]'",
        ) from error


class _Reader:
    """The pieces as a file to be read from; remembers why there are no more."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""
        self.failed: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        while not self._left:
            try:
                piece = next(self._pieces, None)
            except Exception as error:
                self.failed = error
                raise
            if piece is None:
                return b""
            self._left = piece
        count = size if size >= 0 else _CHUNK_BYTES
        data, self._left = self._left[:count], self._left[count:]
        return data


class _Writer:
    """A file that remembers why it refused."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.failed: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            self._file.write(data)
        except OSError as error:
            self.failed = self.failed or error
            raise
        return len(data)

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            self.failed = self.failed or error
            raise

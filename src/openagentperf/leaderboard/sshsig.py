"""Signatures in OpenSSH's own format (PROTOCOL.sshsig), Ed25519 only: what is signed here `ssh-keygen -Y verify` checks, and back.

    SSHSIG | version 1 | public key | namespace | "" | hash name | signature          over  SSHSIG | namespace | "" | hash name | hash(data)

Engineers have such keys, and hosts publish them; a key format of our own would be one more thing to lose. Signing and checking need the
`seal` extra (cryptography).
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import struct
from pathlib import Path
from typing import Any, NamedTuple

from openagentperf.errors import UsageError

_MAGIC = b"SSHSIG"
_KIND = b"ssh-ed25519"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_SERIALIZATION, _ED25519 = "hazmat.primitives.serialization", "hazmat.primitives.asymmetric.ed25519"
_LONGEST = 10_000
"""Characters of a signature file: an Ed25519 signature has 300."""


class Signature(NamedTuple):
    """What a signature file says of some data."""

    key: bytes
    """The public key's blob; b"" where it does not hold."""
    why: str = ""
    """Why it does not hold."""

    @property
    def fingerprint(self) -> str:
        """`SHA256:...`, as `ssh-keygen -l` shows it."""
        return fingerprint(self.key)


def fingerprint(key: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def sign(data: bytes, namespace: str, key: Path) -> bytes:
    """An armoured signature, the content of a `.sig` file. UsageError unless `key` is an OpenSSH Ed25519 key without a pass phrase."""
    private = _private(key)
    serial = _crypto(_SERIALIZATION)
    raw = private.public_key().public_bytes(serial.Encoding.Raw, serial.PublicFormat.Raw)
    signed = private.sign(_signed(data, namespace.encode(), b"sha512"))
    blob = _MAGIC + struct.pack(">I", 1) + b"".join(
        map(_string, (_string(_KIND) + _string(raw), namespace.encode(), b"", b"sha512", _string(_KIND) + _string(signed)))
    )  # fmt: skip
    text = base64.b64encode(blob).decode()
    lines = [text[i : i + 70] for i in range(0, len(text), 70)]
    return "\n".join((_BEGIN, *lines, _END, "")).encode()


def check(data: bytes, namespace: str, armoured: bytes) -> Signature:
    """Whose signature it is, or why it is none of this data. Whether the key is to be trusted is another question (`listed`)."""
    try:
        key, found, name, signature = _parsed(armoured)
        (kind, raw), (signed_kind, signed) = _strings(key, 2), _strings(signature, 2)
    except (ValueError, struct.error) as error:
        return Signature(b"", f"it is no SSH signature ({error})")
    if found != namespace.encode():
        other = found[:60].decode(errors="replace")
        return Signature(b"", f"it was made for another purpose ({other!r}, not {namespace!r})")
    if name not in _HASHES:
        return Signature(b"", "it is over another hash than SHA-256 or SHA-512")
    if kind != _KIND or signed_kind != _KIND or len(raw) != 32 or len(signed) != 64:
        return Signature(b"", "it is by another kind of key than ssh-ed25519")
    try:
        _crypto(_ED25519).Ed25519PublicKey.from_public_bytes(raw).verify(signed, _signed(data, found, name))
    except (_crypto("exceptions").InvalidSignature, ValueError):
        return Signature(b"", "it does not fit: the data or the signature was changed")
    return Signature(key)


def listed(path: Path) -> dict[bytes, str]:
    """Public keys of a file and whom they belong to: `NAME ssh-ed25519 AAAA...` a line, the form of ssh's `allowed_signers`; `#` begins a
    comment. UsageError for a line that is none."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            str(path), f"cannot be read ({error})", "a list of keys was needed", "name a text file"
        ) from error
    found: dict[bytes, str] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        at = words.index(_KIND.decode()) if _KIND.decode() in words else 0
        try:
            key = base64.b64decode(words[at + 1], validate=True)
            kind, raw = _strings(key, 2)
        except (IndexError, ValueError, struct.error) as error:
            raise _no_key(path, number) from error
        if at == 0 or kind != _KIND or len(raw) != 32:
            raise _no_key(path, number)
        found[key] = words[0]
    return found


def _no_key(path: Path, number: int) -> UsageError:
    return UsageError(
        f"{path}:{number}", "is no line of a list of keys", "`NAME ssh-ed25519 AAAA...` was needed",
        "put a name before the content of a .pub file",
    )  # fmt: skip


def _parsed(armoured: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Public key, namespace, name of the hash, signature."""
    text = armoured[:_LONGEST].decode("ascii").strip()
    if not text.startswith(_BEGIN) or not text.endswith(_END):
        raise ValueError("it does not begin and end as one")
    blob = base64.b64decode("".join(text[len(_BEGIN) : -len(_END)].split()), validate=True)
    if blob[:6] != _MAGIC or struct.unpack_from(">I", blob, 6)[0] != 1:
        raise ValueError("its version is not 1")
    key, namespace, _, name, signature = _strings(blob[10:], 5)
    return key, namespace, name, signature


def _signed(data: bytes, namespace: bytes, name: bytes) -> bytes:
    return _MAGIC + b"".join(map(_string, (namespace, b"", name, _HASHES[name](data).digest())))


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _strings(data: bytes, count: int) -> list[bytes]:
    """So many length-prefixed strings, which must fill `data`."""
    found: list[bytes] = []
    at = 0
    for _ in range(count):
        (length,) = struct.unpack_from(">I", data, at)
        at += 4 + length
        if at > len(data):
            raise ValueError("it is cut short")
        found.append(data[at - length : at])
    if at != len(data):
        raise ValueError("something follows it")
    return found


def _private(path: Path) -> Any:
    try:
        key = _crypto(_SERIALIZATION).load_ssh_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            str(path), f"cannot be used to sign ({error})", "an OpenSSH private key without a pass phrase was needed",
            "sign with `ssh-keygen -Y sign` (docs/leaderboard.md), or make a key with `ssh-keygen -t ed25519`",
        ) from error  # fmt: skip
    if not isinstance(key, _crypto(_ED25519).Ed25519PrivateKey):
        raise UsageError(
            str(path), "is no Ed25519 key", "only those are checked", "make one with `ssh-keygen -t ed25519`"
        )
    return key


def _crypto(name: str) -> Any:
    try:
        # Imported here: an extra that a run never needs.
        return importlib.import_module(f"cryptography.{name}")
    except ImportError as error:
        raise UsageError(
            "signatures", f"cryptography cannot be imported ({error})", "it makes and checks them",
            "pip install 'openagentperf[seal]'",
        ) from error  # fmt: skip

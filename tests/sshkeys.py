"""OpenSSH keys for tests, made anew."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519


def write_key(path: Path, name: str) -> Path:
    """A private key, and `path`.pub with a comment."""
    key = ed25519.Ed25519PrivateKey.generate()
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    path.chmod(0o600)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    path.with_name(path.name + ".pub").write_bytes(public + f" {name}\n".encode())
    return path


def signer_line(key: Path, name: str) -> str:
    """A line of `allowed_signers`."""
    return f"{name} {key.with_name(key.name + '.pub').read_text()}"

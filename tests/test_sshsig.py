"""Signatures: what ssh-keygen makes is understood, what is made here ssh-keygen understands, and nothing else passes."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest

from openagentperf.errors import UsageError
from openagentperf.leaderboard import sshsig
from sshkeys import signer_line, write_key

DATA, PURPOSE = b"what is signed\n", "openagentperf-bundle"
keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path / "key", "me")


def test_a_signature_holds_for_its_data_its_purpose_and_its_key(key: Path, tmp_path: Path) -> None:
    armoured = sshsig.sign(DATA, PURPOSE, key)
    found = sshsig.check(DATA, PURPOSE, armoured)
    assert found.why == ""
    (tmp_path / "keys").write_text(f"# ours\n\n{signer_line(key, 'me@lab')}")
    assert sshsig.listed(tmp_path / "keys") == {found.key: "me@lab"}
    assert "changed" in sshsig.check(DATA + b" ", PURPOSE, armoured).why
    assert "another purpose" in sshsig.check(DATA, "file", armoured).why


@keygen
def test_ssh_keygen_checks_what_is_signed_here(key: Path, tmp_path: Path) -> None:
    (tmp_path / "data.sig").write_bytes(sshsig.sign(DATA, PURPOSE, key))
    (tmp_path / "signers").write_text(signer_line(key, "me"))
    command = ["ssh-keygen", "-Y", "verify", "-f", "signers", "-I", "me", "-n", PURPOSE, "-s", "data.sig"]
    done = subprocess.run(command, cwd=tmp_path, input=DATA, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = subprocess.run(["ssh-keygen", "-lf", "key.pub"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert sshsig.check(DATA, PURPOSE, (tmp_path / "data.sig").read_bytes()).fingerprint in shown.stdout


@keygen
def test_what_ssh_keygen_signs_is_checked_here(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "k"], cwd=tmp_path, check=True)
    (tmp_path / "data").write_bytes(DATA)
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", "k", "-n", PURPOSE, "data"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    armoured = (tmp_path / "data.sig").read_bytes()
    assert sshsig.check(DATA, PURPOSE, armoured).why == ""
    assert sshsig.check(b"", PURPOSE, armoured).why != ""


@pytest.mark.parametrize("cut", [0, 1, 40, 150, 290])
def test_a_spoiled_signature_never_holds(key: Path, cut: int) -> None:
    armoured = sshsig.sign(DATA, PURPOSE, key)
    lines = armoured.decode().split("\n")
    body = base64.b64decode("".join(lines[1:-2]))
    for spoiled in (body[:cut], body[:cut] + b"\xff" + body[cut + 1 :], body + b"\0"):
        text = "\n".join((lines[0], base64.b64encode(spoiled).decode(), lines[-2], ""))
        if spoiled != body:
            assert sshsig.check(DATA, PURPOSE, text.encode()).why != ""
    assert sshsig.check(DATA, PURPOSE, armoured[:cut]).why != ""
    assert sshsig.check(DATA, PURPOSE, b"\xff" * 100_000).why != ""


@pytest.mark.parametrize("line", ["ssh-ed25519 AAAA", "me ssh-rsa AAAA", "me ssh-ed25519 !!!", "me ssh-ed25519", "me"])
def test_a_list_of_keys_has_a_name_and_a_key_a_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "keys").write_text(f"# comment\n{line}\n")
    with pytest.raises(UsageError, match="keys:2: is no line"):
        sshsig.listed(tmp_path / "keys")


def test_what_cannot_sign_is_said(tmp_path: Path) -> None:
    (tmp_path / "none").write_text("no key")
    for name in ("none", "absent"):
        with pytest.raises(UsageError, match="cannot be used to sign"):
            sshsig.sign(DATA, PURPOSE, tmp_path / name)
    with pytest.raises(UsageError, match="cannot be read"):
        sshsig.listed(tmp_path / "absent")

"""Where public sets come from: the Hugging Face hub, or a folder that holds a copy of one."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, NoReturn, Protocol

from openagentperf.errors import CorpusError, InfrastructureError, UsageError


class Listing(NamedTuple):
    revision: str
    """Commit of the data set; "" where a copy does not say."""
    files: dict[str, int | None]
    """Bytes by path in the repository, in the order of the paths; None where not known."""


class Source(Protocol):
    """A place to get a data set from."""

    def listing(self, repo: str, revision: str | None, /) -> Listing:
        """The files of a data set at a branch, tag or commit; None: its main branch."""

    def download(self, repo: str, filename: str, revision: str, /) -> Path:
        """The file on this machine."""


class Hub:
    """The hub, by the huggingface_hub client: its cache, its proxies, its login (`hf auth login`, HF_TOKEN, HF_HOME, HF_ENDPOINT).

    endpoint, cache   None: what the client takes from its environment
    InfrastructureError where the hub cannot be reached or refuses; UsageError where the extra is not installed or the revision is unknown.
    """

    def __init__(self, endpoint: str | None = None, cache: Path | None = None) -> None:
        self._endpoint = endpoint
        self._cache = cache
        self._client = _client()

    def listing(self, repo: str, revision: str | None) -> Listing:
        try:
            api = self._client.HfApi(endpoint=self._endpoint)
            info = api.dataset_info(repo, revision=revision, files_metadata=True)
        except Exception as error:  # noqa: BLE001 - transport errors are those of whichever HTTP library the client's version uses
            self._refused(repo, error)
        files = {file.rfilename: file.size for file in info.siblings or ()}
        return Listing(info.sha or "", dict(sorted(files.items())))

    def download(self, repo: str, filename: str, revision: str) -> Path:
        try:
            path = self._client.hf_hub_download(
                repo, filename, repo_type="dataset", revision=revision, endpoint=self._endpoint, cache_dir=self._cache
            )
        except Exception as error:  # noqa: BLE001 - as above
            self._refused(repo, error)
        return Path(path)

    def _refused(self, repo: str, error: Exception) -> NoReturn:
        errors = self._client.errors
        place = f"{(self._endpoint or self._client.constants.ENDPOINT).rstrip('/')}/datasets/{repo}"
        why = (str(error) or type(error).__name__).strip().partition("\n")[0]
        if isinstance(error, errors.GatedRepoError):
            raise InfrastructureError(
                place, "is gated", "its terms must be accepted by you", "open the page, accept them, and log in with `hf auth login`"
            ) from error  # fmt: skip
        if isinstance(error, errors.RevisionNotFoundError):
            raise UsageError(place, "has no such revision", "a branch, tag or commit", "correct --revision") from error
        if isinstance(error, errors.RepositoryNotFoundError):
            raise InfrastructureError(
                place, "is not there, or not for you", "a public data set was expected", "look it up on the hub; it may have moved"
            ) from error  # fmt: skip
        raise InfrastructureError(
            place, f"cannot be fetched ({why})", "the hub must be reachable", "try again later, or name a copy of the set with --from"
        ) from error  # fmt: skip


class Mirror:
    """A folder with a copy of one data set: a clone of its repository, or what `hf download --local-dir` left.

    Its revision: the one asked for, believed; else the one that the download noted; else "". CorpusError where the folder is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not folder.is_dir():
            raise CorpusError(
                str(folder), "is no folder", "--from takes a copy of the data set", "check the path, or leave --from out"
            )  # fmt: skip

    def listing(self, repo: str, revision: str | None) -> Listing:  # noqa: ARG002 - a folder holds one set
        files: dict[str, int | None] = {}
        for path in sorted(self._folder.rglob("*")):
            inside = path.relative_to(self._folder)
            if path.is_file() and not any(part.startswith(".") for part in inside.parts):
                files[inside.as_posix()] = path.stat().st_size
        return Listing(revision or self._noted(), files)

    def download(self, repo: str, filename: str, revision: str) -> Path:  # noqa: ARG002 - nothing is to be fetched
        return self._folder / filename

    def _noted(self) -> str:
        """The client writes the commit into the first line of a file's metadata."""
        noted = sorted(self._folder.glob(".cache/huggingface/download/**/*.metadata"))
        try:
            first = noted[0].read_text().split("\n")[0].strip() if noted else ""
        except (OSError, UnicodeDecodeError):
            return ""
        return first if len(first) == 40 else ""


def _client() -> ModuleType:
    try:
        # Imported here: an extra, and half a second that no other command should pay.
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UsageError(
            "corpus fetch",
            f"huggingface_hub cannot be imported ({error})",
            "it speaks with the hub",
            "pip install 'openagentperf[fetch]', or name a copy of the set with --from",
        ) from error

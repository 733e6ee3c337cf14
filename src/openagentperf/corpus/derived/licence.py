"""Which licence a repository's licence file is, by sentences that only that one has. A guess: the file decides."""

from __future__ import annotations

import re

FILES = re.compile(
    r"(un)?(licen[cs]e|copying)([-_](\w|-|\.\d)+)?(\.(md|txt|rst|markdown|lesser|mit|apache2?|bsd))?", re.IGNORECASE
)
"""Names of licence files in the root of a repository."""
_ID = re.compile(r"SPDX-License-Identifier:\s*([\w.+-]+(?: (?:OR|AND|WITH) [\w.+-]+)*)")
_BSD = "redistributions in binary form must reproduce"
_MARKS: tuple[tuple[str, ...], ...] = (
    # An id, then what its text holds. The first whose marks all occur decides: a licence that names another one stands before it. Lower
    # case, one space between words, no stars.
    ("MPL-2.0", "mozilla public license version 2.0"),
    ("EPL-2.0", "eclipse public license - v 2.0"),
    ("AGPL-3.0-only", "gnu affero general public license version 3"),
    ("LGPL-3.0-only", "gnu lesser general public license version 3"),
    ("LGPL-2.1-only", "gnu lesser general public license version 2.1"),
    ("LGPL-2.0-only", "gnu library general public license version 2"),
    ("GPL-3.0-only", "gnu general public license version 3"),
    ("GPL-2.0-only", "gnu general public license version 2"),
    ("Apache-2.0", "apache license version 2.0"),
    ("BSL-1.0", "boost software license - version 1.0"),
    ("CC0-1.0", "cc0 1.0 universal"),
    ("CC-BY-SA-4.0", "attribution-sharealike 4.0 international"),
    ("CC-BY-4.0", "attribution 4.0 international"),
    ("Unlicense", "this is free and unencumbered software released into the public domain"),
    (
        "MIT",
        "the above copyright notice and this permission notice shall be included in all copies or substantial portions",
    ),
    ("ISC", "provided that the above copyright notice and this permission notice appear in all copies"),
    ("Zlib", "altered source versions must be plainly marked as such"),
    ("BSD-4-Clause", _BSD, "all advertising materials mentioning features or use of this software"),
    ("BSD-3-Clause", _BSD, "endorse or promote products derived from this software"),
    ("BSD-2-Clause", _BSD),
)


def spdx_of(text: str) -> str:
    """The SPDX id of a licence file; "" where it is none of those known here.

    The GNU licences' texts do not say whether "or any later version" was granted: `-only` is the narrower reading.
    """
    if found := _ID.search(text):
        return found[1]
    plain = re.sub(r"[\s*#>]+", " ", text.lower()).replace("license, version", "license version")
    return next((name for name, *marks in _MARKS if all(mark in plain for mark in marks)), "")


def spdx_of_files(texts: list[str]) -> str:
    """Of a repository with these licence files: their one id; "" where there is none, one is unknown, or they differ.

    Two different files may mean a choice (OR) or two parts (AND): which of them no file says.
    """
    found = {spdx_of(text) for text in texts}
    return found.pop() if len(found) == 1 else ""

"""A profile: the folder with what one client needs, and a `client.yaml` that says which file is what.

    target: 127.0.0.1:8443
    ca: ca.pem              # paths are relative to the folder
    certificate: client.pem
    key: client.key
    token_file: token

The base install has no YAML library, so this reads the part of YAML that such a file needs, the same way
as YAML does, and refuses the rest: one level of `key: value`, comments, and quotes.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from .credentials import Credentials
from .errors import ConfigurationError

FILE: Final = "client.yaml"
KEYS: Final = ("target", "ca", "certificate", "key", "token_file", "server_name")

_ENTRY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*) *:(?: +(.*))?")
_QUOTED = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')(?: +#.*)?""")
_SPECIAL = tuple("[]{}&*!|>%@`,?'\"#")  # what begins something else than plain text in YAML


class Profile(NamedTuple):
    """Where to call, and as whom."""

    target: str
    credentials: Credentials


def read_profile(directory: str | os.PathLike[str]) -> Profile:
    """Read `client.yaml` in the folder. Raises ConfigurationError with file and line where it is no good."""
    path = Path(directory) / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot read the profile {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8 text") from error
    return _profile(parse(text, str(path)), path)


def parse(text: str, where: str) -> dict[str, str]:
    """Return the entries of one level of `key: value` lines.

    Raises ConfigurationError, which names *where* and the line, for anything else and for a key given twice.
    """
    entries: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            for key, value in _entry(line.rstrip()):
                if key in entries:
                    raise ValueError(f"{key} is given twice")
                entries[key] = value
        except ValueError as error:
            raise ConfigurationError(f"{where}, line {number}: {error}") from error
    return entries


def _profile(entries: dict[str, str], path: Path) -> Profile:
    unknown = [key for key in entries if key not in KEYS]
    if unknown:
        raise ConfigurationError(f"{path}: there is no key {unknown[0]!r}; the keys are {', '.join(KEYS)}")
    if "target" not in entries:
        raise ConfigurationError(f"{path}: the target is missing: add a line like  target: 127.0.0.1:8443")
    files = {
        key: path.parent / entries[key]
        for key in ("ca", "certificate", "key", "token_file")
        if key in entries
    }
    credentials = Credentials(**files, server_name=entries.get("server_name", ""))  # type: ignore[arg-type]
    return Profile(entries["target"], credentials)


def _entry(line: str) -> Iterator[tuple[str, str]]:
    """Yield the entry that the line holds, if any."""
    if not line.strip() or line.lstrip().startswith("#"):
        return
    if not line.isprintable():
        raise ValueError("there is a tab or another control character: use spaces")
    found = _ENTRY.fullmatch(line)
    if not found:
        raise ValueError(f"expected  key: value  from the first column on, found {line[:40]!r}")
    yield found[1], _value((found[2] or "").strip())


def _value(text: str) -> str:
    quoted = _QUOTED.fullmatch(text)
    if quoted:
        return _unquote(quoted[1])
    plain = re.split(" #", text, maxsplit=1)[0].rstrip()
    if not plain or plain.startswith("#"):
        raise ValueError("the value is missing")
    if plain.startswith((*_SPECIAL, "- ", ": ")) or re.search(r":( |$)", plain) or not plain.isprintable():
        raise ValueError(f'put the value in quotes: "{plain[:40]}"')
    return plain


def _unquote(text: str) -> str:
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    try:
        return str(json.loads(text))
    except ValueError:
        raise ValueError(f"cannot read the quoted text {text[:40]}") from None

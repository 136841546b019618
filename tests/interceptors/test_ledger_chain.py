"""What a ledger line is."""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors.ledger.chain import (
    START,
    Link,
    bind,
    digest_by,
    encode,
    key_name,
    link_of,
    parse,
    stamp,
)

PLAIN = digest_by(b"")
TEXT = st.text(st.characters(), max_size=9)  # lone surrogates too
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain", b'"plain"'),
        ("a\r\nb", b'"a\\r\\nb"'),
        ("\x1b[31m", b'"\\u001b[31m"'),
        ("\u2028\u2029", b'"\\u2028\\u2029"'),
        ("\x85\x9b", b'"\\u0085\\u009b"'),
        ("\x7f", b'"\\u007f"'),
        ("\u202e", b'"\\u202e"'),
        ("é😀", b'"\\u00e9\\ud83d\\ude00"'),
        ("\ud800x", b'"\\\\ud800x"'),
        (b"\x00\xff", b'"\\u0000\\\\xff"'),
        (2**70, b'"0x400000000000000000"'),
        ((1, {2}), b"[1,[2]]"),
        (object(), b'"<object>"'),
        (datetime(2026, 11, 23, tzinfo=UTC), b'"2026-11-23T00:00:00+00:00"'),
    ],
)
def test_odd_values_are_written_as_printable_ascii(text: Any, written: bytes) -> None:
    """Controls, separators and what JSON cannot carry are escaped, never dropped."""
    assert encode({"note": text}) == b'{"note":' + written + b"}"


@given(st.dictionaries(TEXT.filter(lambda key: key not in ("seq", "prev")), ANYTHING))
def test_any_entry_becomes_one_line_that_reads_back(entry: dict[str, object]) -> None:
    """Whatever the entry holds, its line is printable ASCII, strict JSON, and ends in seq and prev."""
    [line], _ = bind([encode(entry)], Link(6, "ab" * 32), PLAIN)
    assert all(0x20 <= byte < 0x7F for byte in line)
    assert json.loads(line, parse_constant=pytest.fail)["seq"] == 7
    parsed = parse(line)
    assert parsed is not None
    assert (parsed.sequence, parsed.prev) == (7, "ab" * 32)


def test_nesting_without_end_is_cut_not_lost() -> None:
    """An entry nested too deep for JSON is still written, its depths as text."""
    deep: list[object] = []
    for _ in range(2000):
        deep = [deep]
    assert encode({"kind": "query", "note": deep}).startswith(b'{"kind":"query","note":[[[')


@pytest.mark.parametrize("name", ["seq", "prev"])
def test_an_entry_cannot_bring_the_chains_own_members(name: str) -> None:
    """Two members of one name would let readers disagree."""
    with pytest.raises(ValueError, match="belong to the ledger"):
        encode({"kind": "query", name: 1})


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"[1]",
        b'{"kind":"query"}',
        b'{"a":1,"seq":0,"prev":"00"}',
        b'{"a":1,"seq":true,"prev":"00"}',
        b'{"a":1,"seq":1.0,"prev":"00"}',
        b'{"a":1,"seq":1,"prev":null}',
        b'{"a":1,"prev":"00","seq":1}',
        b'{"a":1,"seq":1,"prev":"00"} ',
        b'{"a":1,"seq":1,"prev":"00"}\r',
    ],
)
def test_what_is_no_ledger_line(line: bytes) -> None:
    """Only JSON objects that end in a positive seq and a prev, in our spelling, are ledger lines."""
    assert parse(line) is None
    assert link_of(line, PLAIN) == START


@pytest.mark.parametrize("key", [b"", b"k" * 32], ids=["plain", "keyed"])
def test_a_batch_is_the_same_chain_as_its_entries_one_by_one(key: bytes) -> None:
    """Each line names the one before; where the end of a batch says it is, there the last line is."""
    digest = digest_by(key)
    bodies = [encode({"kind": "query", "model": f"m{number}"}) for number in range(5)]
    lines, end = bind(bodies, START, digest)
    link, single = START, []
    for body in bodies:
        [line], link = bind([body], link, digest)
        single.append(line)
    assert lines == single
    assert end == link == link_of(lines[-1], digest) == Link(5, digest(lines[-1]))
    assert [json.loads(line)["prev"] for line in lines[1:]] == [digest(line) for line in lines[:-1]]


def test_the_hashes_are_sha256_and_its_hmac() -> None:
    """Both are what the standard library computes; a key is named without giving it away."""
    key, line = b"k" * 32, b'{"kind":"query","seq":1,"prev":"00"}'
    assert digest_by(b"")(line) == hashlib.sha256(line).hexdigest()
    assert digest_by(key)(line) == hmac.new(key, line, "sha256").hexdigest()
    assert key_name(b"") == ""
    assert len({key_name(key), key_name(b"K" * 32), key.hex()[:16]}) == 3


def test_time_is_utc_text_with_microseconds() -> None:
    """Times sort as text."""
    assert stamp(0) == "1970-01-01T00:00:00.000000Z"
    assert stamp(1795457390.25) == "2026-11-23T18:09:50.250000Z"

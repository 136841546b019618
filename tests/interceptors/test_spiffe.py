"""The grammar of SPIFFE ids: a table of what the standard says, and every byte tried in every place."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors.spiffe import LONGEST, workload

RIGHT = [
    "spiffe://acme/x",
    "spiffe://a.b-c_d.9/ns/ml/sa/note-book_1.x",
    "spiffe://1.2.3.4/x",
    "spiffe://acme/...",
    "spiffe://acme/A.B",
    "spiffe://" + "a" * 255 + "/x",
    "spiffe://acme/" + "x" * (LONGEST - len("spiffe://acme/")),
]
WRONG = [
    "",
    "spiffe",
    "spiffe:/acme/x",
    "spiffe://",
    "spiffe:///x",
    "Spiffe://acme/x",
    "spiffe://ACME/x",
    "spiffe://acme",
    "spiffe://acme/",
    "spiffe://acme//x",
    "spiffe://acme/x/",
    "spiffe://acme/./x",
    "spiffe://acme/../x",
    "spiffe://acme/x/..",
    "spiffe://acme:8443/x",
    "spiffe://user@acme/x",
    "spiffe://acme/x?y",
    "spiffe://acme/x#y",
    "spiffe://acme/%2e",
    "spiffe://acme/x\n",
    " spiffe://acme/x",
    "spiffe://acme/é",
    "spiffe://аcme/x",  # noqa: RUF001 - a Cyrillic letter that looks like a Latin one
    "spiffe://" + "a" * 256 + "/x",
    "spiffe://acme/" + "x" * (LONGEST - len("spiffe://acme/") + 1),
    "https://acme/x",
]


@pytest.mark.parametrize("text", RIGHT)
def test_right(text: str) -> None:
    """An id of a workload is given back as it is."""
    assert workload(text) == text


@pytest.mark.parametrize("text", WRONG)
def test_wrong(text: str) -> None:
    """Anything else raises ValueError, in words that say what would be right."""
    with pytest.raises(ValueError, match=r"SPIFFE|trust domain|path|workload"):
        workload(text)


@pytest.mark.parametrize("code", range(256))
def test_every_byte(code: int) -> None:
    """Of all 256 bytes, only those of the standard may stand in a trust domain or in a segment."""
    for text, allowed in (
        (f"spiffe://a{chr(code)}c/x", string.ascii_lowercase + string.digits + "._-/"),
        (f"spiffe://acme/a{chr(code)}c", string.ascii_letters + string.digits + "._-/"),
    ):
        try:
            passed = workload(text) == text
        except ValueError:
            passed = False
        assert passed == (chr(code) in allowed), text


@given(st.text())
def test_any_text(text: str) -> None:
    """Whatever comes, it is an id in its one spelling, or ValueError."""
    try:
        assert workload("spiffe://acme/" + text) == "spiffe://acme/" + text
    except ValueError:
        return
    assert set(text) <= set(string.ascii_letters + string.digits + "._-/")

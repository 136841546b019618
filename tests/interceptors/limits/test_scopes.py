"""Whose account a call draws on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors.call import Call, Principal
from guardhouse.interceptors.limits.budget.accounts import Accounts
from guardhouse.interceptors.limits.budget.units import amount
from guardhouse.interceptors.limits.rules import Budget
from guardhouse.interceptors.limits.scopes import network, value
from guardhouse.interceptors.limits.stores import Account, Want
from guardhouse.interceptors.limits.stores.checks import LONGEST_NAME, check_wants

DAY = amount("10 elements/day")


def call(**facts: object) -> Call:
    return Call("/p.S/M", (), True, 0, 0, **facts)


def budget(*per: str) -> Budget:
    return Budget("research", per, amount=DAY)


@pytest.mark.parametrize(
    ("per", "name"),
    [
        ((), "research elements/day"),
        (("principal",), "research elements/day principal=https://issuer%20me"),
        (("model", "method"), "research elements/day model=digits method=/p.S/M"),
        (("claim.tenant",), "research elements/day claim.tenant=acme%20%0A"),
        (("claim.level",), "research elements/day claim.level=3"),
        (("claim.other",), "research elements/day claim.other="),
        (("peer",), "research elements/day peer=192.0.2.1"),
    ],
)
def test_the_account_tells_apart_what_the_budget_does(per: tuple[str, ...], name: str) -> None:
    """By what the policy lists, and nothing else; no blank or line end of a caller gets into the name."""
    who = Principal(name="me", issuer="https://issuer", claims={"tenant": "acme \n", "level": 3})
    asked = call(principal=who, model="digits", peer="ipv4:192.0.2.1:4000")

    assert Accounts().of(budget(*per), asked).name == name


@given(one=st.text(max_size=400), other=st.text(max_size=400))
def test_two_callers_never_share_an_account_by_their_names(one: str, other: str) -> None:
    """Names differ, accounts differ: whatever characters, however long. The store can print them all."""
    accounts = [
        Accounts().of(budget("principal"), call(principal=Principal(name=each))).name for each in (one, other)
    ]

    assert (accounts[0] == accounts[1]) == (one == other)
    assert all(each.isascii() and each.isprintable() and len(each) <= 1024 for each in accounts)


@pytest.mark.parametrize(
    ("peer", "told"),
    [
        ("ipv4:192.0.2.1:4000", "192.0.2.1"),
        ("ipv4:192.0.2.1:4001", "192.0.2.1"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:4000", "192.0.2.1"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:1", "2001:db8:1:2::/64"),
        ("ipv6:%5B2001:db8:1:2::9%5D:1", "2001:db8:1:2::/64"),
        ("ipv6:[fe80::1%25eth0]:1", "fe80::/64"),
        ("unix:", "unix"),
        ("unix:/run/x.sock", "unix"),
        ("ipv4:nonsense", "unknown"),
        ("", ""),
    ],
)
def test_a_peer_is_an_address_or_a_network(peer: str, told: str) -> None:
    """Ports do not count; IPv6 counts by /64, which one customer has to himself; mapped IPv4 is IPv4."""
    assert network(peer) == told


def test_a_claim_may_be_called_anything() -> None:
    """Its name comes from the policy; a store would refuse a name with a line end in it, and all others asked
    about beside it."""
    odd = budget("claim.https://acme/my tenant\n")
    account = Accounts().of(odd, call(principal=Principal("me", claims={"https://acme/my tenant\n": "a"})))

    check_wants([Want(account, 1, 1)])
    assert account.name == "research elements/day claim.https://acme/my%20tenant%0A=a"


@pytest.mark.parametrize("letter", ["v", "\u00fc"])
def test_no_claims_make_a_name_that_stores_refuse(letter: str) -> None:
    """Long names of claims with long values, four of them: each pair of callers still has an account each."""
    names = [letter * 63 + str(number) for number in range(4)]
    longest = Budget("b" * 64, tuple(f"claim.{name}" for name in names), amount=DAY)

    def account(last: str) -> Account:
        return Accounts().of(
            longest, call(principal=Principal("me", claims=dict.fromkeys(names, "v" * 199 + last)))
        )

    one, other = account("1"), account("2")
    check_wants([Want(one, 1, 1), Want(other, 1, 1)])
    assert one.name != other.name
    assert len(one.name.encode()) <= LONGEST_NAME


def test_one_who_lacks_a_claim_shares_with_all_who_do() -> None:
    """Leaving a claim out does not open a new budget."""
    assert value("claim.tenant", call(principal=Principal(name="a"))) == ""


def test_a_budget_applies_to_the_holders_of_its_roles() -> None:
    """Without roles, to everybody."""
    limited = Budget("research", (), amount=DAY, roles=frozenset({"analyst"}))

    assert [limited.applies(frozenset(held)) for held in ((), ("analyst", "x"), ("x",))] == [
        False,
        True,
        False,
    ]
    assert budget().applies(frozenset())

"""The guards of a policy's rates and slots, with where they are kept opened, and closed again by a stack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from guardhouse.interceptors.policy import Policy

from .concurrency import Concurrency
from .leases import Leases
from .rate import MessageRate, Rates
from .shared_slots import SharedSlots
from .stores import Store


def rates(policy: Policy, store: Store | None, stack: ExitStack) -> Rates:
    """The rates of *policy*, kept in *store* if there is one."""
    if store is None or not policy.limits.rates:
        return Rates(policy.general.rates)
    leases = Leases(store)
    stack.callback(leases.close)
    return Rates(policy.general.rates, leases)


def slots(policy: Policy, store: Store | None, stack: ExitStack) -> Concurrency:
    """The same for calls at the same time."""
    if store is None or not policy.limits.slots:
        return Concurrency(policy.general.slots)
    shared = SharedSlots(store)
    stack.callback(shared.close)
    return Concurrency(policy.general.slots, shared)


def late(policy: Policy, rates: Rates) -> Iterator[MessageRate]:
    """The guard of the rates that need a message, if the policy has any."""
    if not all(rule.early for rule in policy.limits.rates):
        yield MessageRate(rates)

"""Rates over real connections in both colours, where a store must be asked in the middle of a stream."""

from __future__ import annotations

from contextlib import closing

import grpc
import pytest

from guardhouse.interceptors import Call, Chain, Guard, Principal, RateLimit, Stage
from guardhouse.interceptors.documents.units import Rate
from guardhouse.interceptors.limits import leases as module
from guardhouse.interceptors.limits.leases import Leases
from guardhouse.interceptors.limits.rate import Rates
from guardhouse.interceptors.limits.rules import RateRule
from guardhouse.interceptors.limits.stores.memory import MemoryStore
from guardhouse.interceptors.policy import Grant, Limits
from guardhouse.interceptors.policy.rules import Role
from tests.interceptors.serving import COLOURS, Watch, serving

FIVE = RateRule("r", rate=Rate(1, 86_400, 5))  # at once, and then one a day
GRANT = Grant([Role("r")], Limits(rates=(FIVE,)))


class Known(Guard):
    """Everybody is one caller."""

    stage = Stage.TOKEN

    def __init__(self) -> None:
        self.who = Principal("me")

    def admit(self, call: Call) -> None:
        call.principal, call.grant = self.who, GRANT


@pytest.mark.parametrize("colour", COLOURS)
async def test_a_stream_asks_the_store_about_each_message(
    colour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is in hand for the second message, nor the third: each is paid for; the sixth is refused."""
    monkeypatch.setattr(module, "PATIENCE", 30.0)  # however busy the machine is
    watch = Watch()
    with closing(Leases(MemoryStore())) as leases:
        chain = Chain(watch, Known(), RateLimit(Rates(kept=leases)))
        async with serving(colour, chain) as server:
            passed = await server.ask("stream_stream", b"1", b"2", b"3")
            refused = await server.ask("stream_stream", b"4", b"5", b"6")
            await watch.wait(2)

    assert passed.code is grpc.StatusCode.OK
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert [call.units for call in watch.calls] == [3, 2]
    assert not any(call.degraded for call in watch.calls)

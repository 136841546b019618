"""So many calls, or units, in a period: what is charged, to whom, and what becomes of very many keys."""

from __future__ import annotations

import math
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.interceptors import Call, Principal, Refusal
from guardhouse.interceptors.documents.units import Rate
from guardhouse.interceptors.limits.buckets import Buckets, Draw
from guardhouse.interceptors.limits.gcra import limit as limit_of
from guardhouse.interceptors.limits.rate import MessageRate, RateLimit, Rates
from guardhouse.interceptors.limits.rules import RateRule
from guardhouse.interceptors.methods import MODEL_INFER
from guardhouse.interceptors.policy import Grant, Limits
from guardhouse.interceptors.policy.rules import Role
from guardhouse.protos import inference_pb2

HEALTH = "/grpc.health.v1.Health/Check"
THREE = RateRule("r", rate=Rate(2, 1, 3))  # three at once, then two a second, for each principal


def rule(rate: Rate, *per: str, name: str = "r", **more: Any) -> RateRule:
    return RateRule(name, per, rate=rate, **more)


def call(*rules: RateRule, name: str = "a", now: float = 1000.0, issuer: str = "", **facts: Any) -> Call:
    grant = Grant([Role("r")], Limits(rates=rules or (THREE,)))
    method = facts.pop("method", MODEL_INFER)
    return Call(
        method, (), True, 0, 0, now=now, principal=Principal(name, issuer=issuer), grant=grant, **facts
    )


def passes(guard: RateLimit, asked: Call) -> bool:
    try:
        guard.admit(asked)
    except Refusal:
        return False
    return True


def refused(guard: RateLimit | MessageRate, asked: Call, request: Any = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        guard.admit(asked) if isinstance(guard, RateLimit) else guard.inspect(asked, request)
    return caught.value


def test_burst_then_rate() -> None:
    """Three at once, then two a second, and the caller is told how many are left and when all are back."""
    guard = RateLimit()
    calls = [call() for _ in range(4)]
    passed = [passes(guard, each) for each in calls]

    assert passed == [True, True, True, False]
    assert [each.trailers for each in calls] == [
        (("ratelimit", '"rate";r=2;t=1'),),
        (("ratelimit", '"rate";r=1;t=1'),),
        (("ratelimit", '"rate";r=0;t=2'),),
        (),
    ]
    assert [passes(guard, call(now=1000.5)) for _ in range(2)] == [True, False]


def test_the_wait_that_is_told_is_enough() -> None:
    """Who comes back when told passes; who comes before that does not."""
    guard, now = RateLimit(), 1000.0
    for _ in range(3):
        guard.admit(call(now=now))
    for _ in range(50):
        wait = refused(guard, call(now=now)).retry_after
        assert wait is not None
        assert not passes(guard, call(now=now + wait * 0.98))
        now += wait
        assert passes(guard, call(now=now))


def test_without_a_rate_nothing_is_charged() -> None:
    """Whom the policy gives no rate has none; whom it gives nothing is refused elsewhere."""
    guard = RateLimit()
    nobody, free = call(), call()
    nobody.grant, free.grant = None, Grant([Role("r")])

    assert all(passes(guard, each) for each in [nobody, free] * 100)


def test_each_message_of_a_stream_is_charged() -> None:
    """The first message is paid for by the call; every further one costs as much as a call."""
    guard, asked = RateLimit(), call()
    guard.admit(asked)
    for asked.requests in range(1, 4):
        guard.inspect(asked, None)
    asked.requests = 4
    with pytest.raises(Refusal) as caught:
        guard.inspect(asked, None)

    assert caught.value.reason == "RATE_LIMITED"
    assert (len(asked.trailers), asked.units) == (1, 3)


def test_who_is_who() -> None:
    """Limits are kept by issuer and name; one name of two issuers is two callers."""
    guard = RateLimit()
    for _ in range(3):
        guard.admit(call(name="a"))

    assert not passes(guard, call(name="a"))
    assert passes(guard, call(name="b"))
    assert passes(guard, call(name="a", issuer="https://elsewhere"))


@pytest.mark.parametrize(
    ("per", "facts", "others"),
    [
        ((), {"name": "a"}, {"name": "b", "peer": "ipv4:192.0.2.2:1"}),
        (
            ("peer",),
            {"name": "a", "peer": "ipv6:[2001:db8::1]:1"},
            {"name": "b", "peer": "ipv6:[2001:db8::2]:9"},
        ),
        (("method",), {"name": "a"}, {"name": "b"}),
        (("claim.tenant",), {"name": "a"}, {"name": "b"}),
    ],
)
def test_whoever_is_counted_together_shares_a_rate(per: tuple[str, ...], facts: Any, others: Any) -> None:
    """All together, by network, by method, or as those who lack a claim: what one spends the other lacks."""
    guard, shared = RateLimit(), rule(Rate(1, 3600, 2), *per)
    passed = [passes(guard, call(shared, **each)) for each in (facts, others, facts, others)]

    assert passed == [True, True, False, False]


def test_all_rates_count_at_once_and_a_refused_call_is_charged_to_none() -> None:
    """What the tighter one refuses costs nothing of the wider one, whichever stands first."""
    wide, tight = rule(Rate(1, 3600, 5), name="wide"), rule(Rate(1, 3600, 2), "principal", name="tight")
    guard = RateLimit()
    asked = [call(wide, tight) for _ in range(4)]
    passed = [passes(guard, each) for each in asked]

    assert passed == [True, True, False, False]
    assert guard.rates.left(call(wide, tight), wide) == 3
    assert refused(guard, call(wide, tight)).limit == "rate"
    assert asked[1].trailers == (("ratelimit", '"rate";r=0;t=7200'),)
    assert [passes(guard, call(wide, tight, name=name)) for name in "bcde"] == [True, True, True, False]
    assert refused(guard, call(wide, tight, name="f")).limit == "wide"


def test_a_rate_in_shadow_tells_and_lets_pass() -> None:
    """The call's record names it; the caller learns nothing, and no other rate is spared."""
    guard, shadow = RateLimit(), rule(Rate(1, 3600, 1), name="trial", shadow=True)
    asked = [call(THREE, shadow) for _ in range(4)]
    passed = [passes(guard, each) for each in asked]

    assert passed == [True, True, True, False]
    assert [each.shadow for each in asked] == ["", "trial", "trial", ""]


def test_general_rates_count_who_needs_no_role_but_never_health_checks() -> None:
    """A method that is open to all is counted; a health check passes whatever was spent."""
    guard = RateLimit(Rates([rule(Rate(1, 3600, 1), "peer")]))
    one, two, health = (call(method=name, peer="ipv4:192.0.2.1:1") for name in ("/p.S/M", "/p.S/M", HEALTH))
    for each in (one, two, health):
        each.grant = None

    assert [passes(guard, each) for each in (one, two, health)] == [True, False, True]


def query(model: str, *shape: int) -> Any:
    request = inference_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name="x", datatype="FP32", shape=shape)
    return request


def test_a_rate_by_model_waits_for_the_message() -> None:
    """It charges nothing at the door, where no model is known yet; then each model has its own."""
    rates = Rates()
    by_model = rule(Rate(1, 3600, 1), "model")
    door, late = RateLimit(rates), MessageRate(rates)
    asked = [call(by_model, model=name) for name in ("m", "n", "m")]
    for each in asked:
        door.admit(each)
    late.inspect(asked[0], query("m", 1))
    late.inspect(asked[1], query("n", 1))

    assert refused(late, asked[2], query("m", 1)).limit == "r"


def test_units_of_messages_are_charged() -> None:
    """Elements and rows as the message has them; what is more than the burst can never pass, and says so."""
    late = MessageRate(Rates())
    elements, rows = (
        rule(Rate(10, 1, 20), name="e", unit="elements"),
        rule(Rate(1, 1, 4), name="r", unit="rows"),
    )
    late.inspect(call(elements, rows), query("m", 2, 8))
    told = refused(late, call(elements, rows), query("m", 1, 8))
    never = refused(late, call(elements, rows), query("m", 3, 8))

    assert (told.limit, told.retry_after) == ("e", pytest.approx(0.4))
    assert (never.limit, never.retry_after) == ("e", None)
    assert refused(late, call(elements, rows), query("m", 3, 1)).limit == "r"


def test_bytes_of_messages_are_charged() -> None:
    """As many as came over the wire, unpacked."""
    late, asked = MessageRate(Rates()), call(rule(Rate(100, 1, 100), unit="bytes"), raw=b"x" * 60)
    late.inspect(asked, None)

    assert refused(late, asked).retry_after == pytest.approx(0.2)


def test_what_is_left_is_told_and_not_charged() -> None:
    """`left` is what would pass now."""
    guard, asked = RateLimit(), call()
    before = [guard.rates.left(asked, THREE) for _ in range(5)]
    guard.admit(asked)

    assert before == [3] * 5
    assert guard.rates.left(asked, THREE) == 2
    assert guard.rates.left(call(now=1009.0), THREE) == 3


def test_keys_are_bounded() -> None:
    """A million names in a moment take the room of the most that are kept, and one more for all others."""
    buckets, limit = Buckets(most_keys=1000), limit_of(2.0, 3)
    for number in range(100_000):
        buckets.draw([Draw(f"n{number}", limit)], 1000.0 + number * 1e-9)

    assert buckets.keys <= 1001
    assert len(buckets._queue) <= 1000


def test_room_comes_back() -> None:
    """Keys that owe nothing any more make room for new ones."""
    buckets, limit = Buckets(most_keys=100), limit_of(2.0, 3)
    for round_ in range(20):
        now = 1000.0 + round_ * 10
        waits = [buckets.draw([Draw(f"{round_}/{number}", limit)], now).wait for number in range(100)]
        assert waits.count(0.0) >= 95

    assert buckets.keys <= 101


Steps = st.lists(
    st.tuples(
        st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True), st.sampled_from([0, 0, 10, 600])
    ),
    min_size=20,
    max_size=80,
)


@given(Steps)
def test_an_evicted_key_never_comes_back_richer(steps: list[tuple[list[int], int]]) -> None:
    """With room for three of five names, nobody ever passes who would not with room for all."""
    small, ample, limit, now = Buckets(most_keys=3), Buckets(), limit_of(2.0, 3), 1000.0
    for names, gap in steps:
        now += gap / 1000
        draws = [Draw(f"n{name}", limit) for name in names]
        if not small.draw(draws, now).wait:
            assert not ample.draw(draws, now).wait


Draws = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 6)), min_size=1, max_size=3, unique_by=lambda d: d[0]
)


@given(st.lists(st.tuples(Draws, st.integers(0, 1500)), max_size=40))
def test_several_rates_at_once_are_each_what_they_say(steps: list[tuple[list[tuple[int, int]], int]]) -> None:
    """All or none, as a slow model has it that fills every bucket by the millisecond."""
    rates, buckets = [(2, 3), (1, 5), (4, 4)], Buckets()
    levels, now = [float(burst) for _, burst in rates], 1000.0
    for draws, gap in steps:
        now += gap / 1000
        levels = [
            min(burst, have + gap / 1000 * per) for have, (per, burst) in zip(levels, rates, strict=True)
        ]
        answer = buckets.draw(
            [Draw(str(i), limit_of(float(rates[i][0]), rates[i][1]), n) for i, n in draws], now
        )
        short = [i for i, units in draws if levels[i] < units - 1e-6]
        assert bool(answer.wait) == bool(short)
        assert (
            math.isinf(answer.wait) == any(units > rates[i][1] for i, units in draws if i == short[0])
            if short
            else True
        )
        for i, units in draws if not short else ():
            levels[i] -= units


def test_eight_threads() -> None:
    """Of very many calls at one moment, from eight threads, exactly the burst passes."""
    guard, slow, passed = RateLimit(), rule(Rate(1, 86_400, 1000), "principal"), [0] * 8
    barrier = threading.Barrier(8)
    usual = sys.getswitchinterval()

    def spend(place: int) -> None:
        barrier.wait()
        for _ in range(500):
            passed[place] += passes(guard, call(slow))

    threads = [threading.Thread(target=spend, args=(place,)) for place in range(8)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)

    assert sum(passed) == 1000

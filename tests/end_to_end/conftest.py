"""One guarded server and one receiver of spans for each module of tests."""

from __future__ import annotations

import sys
from pathlib import Path

import grpc
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "interceptors/limits"))  # where Redis servers are started
sys.path.insert(0, str(Path(__file__).parent))

from gate import INFER, Gate, bearer, query, until
from metering import scraped
from redis_servers import HAS_REDIS, running
from sink import Sink


@pytest.fixture(scope="module")
def sink():
    """A receiver of spans."""
    made = Sink()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def gate(tmp_path_factory, sink):
    """A running guarded server that sends its spans to `sink`."""
    made = Gate(tmp_path_factory.mktemp("gate") / "demo", sink.port).start()
    yield made
    if made.process.poll() is None:
        made.stop()


@pytest.fixture(scope="module")
def token(gate):
    """A token of the analyst's role."""
    return gate.token()


@pytest.fixture(scope="module")
def told(tmp_path_factory, sink):
    """A server that tells everything it can tell: calls that ended in several ways, spans, pushes."""
    made = Gate(tmp_path_factory.mktemp("told") / "demo", sink.port)
    made.start("--set", "metrics.listen=127.0.0.1:0", "--set", "metrics.otlp=http://127.0.0.1:1")
    user = bearer(made.token())
    with made.channel() as channel:
        infer = channel.unary_unary(INFER)
        infer(query().SerializeToString(), metadata=user)
        for model, metadata in (("broken", user), ("ghost", user), ("double", ())):
            with pytest.raises(grpc.RpcError):
                infer(query(model).SerializeToString(), metadata=metadata)
    until(lambda: ("guardhouse_chain_duration_seconds_count", frozenset()) in scraped(made))
    yield made
    assert made.stop() == 0


@pytest.fixture(scope="module")
def served(told):
    """Its page, once all four calls are on it."""
    chain = ("guardhouse_chain_duration_seconds_count", frozenset())
    until(lambda: scraped(told)[chain] == 4)
    return scraped(told)


@pytest.fixture
def redis(tmp_path):
    """A Redis of the test's own."""
    with running(tmp_path / "redis") as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=HAS_REDIS)])
def store(request, tmp_path):
    """What `limits.store` is."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'limits.db'}"
    return request.getfixturevalue("redis").url


@pytest.fixture
def serve(request, tmp_path, sink):
    """Starts a server of a name that keeps its limits in a store; it is ended with the test.

    Its policy is what the module calls `SHARED`.
    """
    gates = []

    def start(name, store):
        made = Gate(tmp_path / name, sink.port)
        (made.folder / "policy.yaml").write_text(request.module.SHARED)
        gates.append(made)
        return made.start("--set", f"limits.store={store}")

    yield start
    for gate in gates:
        if gate.process.poll() is None:
            gate.stop()

"""One guarded server and one receiver of spans for each module of tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from gate import Gate
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

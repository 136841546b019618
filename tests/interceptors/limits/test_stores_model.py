"""Every store against a slow, obvious model: whatever is taken, given and reset, in whatever order."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from guardhouse.interceptors.limits.stores import Account, Short, Store, Want
from guardhouse.interceptors.limits.stores.memory import MemoryStore
from guardhouse.interceptors.limits.stores.redis import RedisStore
from guardhouse.interceptors.limits.stores.sqlite import SqliteStore

from .accounts import account, spent
from .redis_servers import RedisServer

ACCOUNTS = st.builds(
    account, st.sampled_from(["ann", "bob"]), st.integers(1, 20), st.sampled_from(["2100-01", "2100-02"])
)
SPANS = st.tuples(st.integers(0, 25), st.integers(0, 25)).map(sorted)
WANTS = st.lists(
    st.builds(lambda of, span: Want(of, *span), ACCOUNTS, SPANS),
    max_size=3,
    unique_by=lambda want: (want.account.name, want.account.window),
)


class Machine(RuleBasedStateMachine):
    """A store, and beside it a dictionary of what is spent."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.model: dict[tuple[str, str], int] = {}

    @initialize()
    def begin(self) -> None:
        """The store outlives one run of the machine."""
        for name, _ in spent(self.store):
            self.store.reset(name)

    @rule(wants=WANTS)
    def take(self, wants: list[Want]) -> None:
        """Look at each account in turn; only if none is short, take from each in turn."""
        before = {want.account: self.model.get((want.account.name, want.account.window), 0) for want in wants}
        taken = self.store.take(wants)
        for want in wants:
            left = want.account.limit - before[want.account]
            left = max(left, 0)
            if left < want.least:
                assert taken == Short(want.account, left)
                return
        assert not isinstance(taken, Short)
        for want, units in zip(wants, taken, strict=True):
            left = max(0, want.account.limit - before[want.account])
            assert units == (min(left, want.most))
            self.model[want.account.name, want.account.window] = before[want.account] + units

    @rule(units=st.lists(st.tuples(ACCOUNTS, st.integers(0, 30)), max_size=3))
    def give(self, units: list[tuple[Account, int]]) -> None:
        """One unit after another, as long as any is spent."""
        self.store.give(units)
        for of, count in units:
            for _ in range(count):
                if self.model.get((of.name, of.window), 0) > 0:
                    self.model[of.name, of.window] -= 1

    @rule(name=st.sampled_from(["ann", "bob", "nobody"]))
    def reset(self, name: str) -> None:
        """All accounts of that name are gone."""
        gone = [key for key in self.model if key[0] == name]
        assert self.store.reset(name) == len(gone)
        for key in gone:
            del self.model[key]

    @invariant()
    def same(self) -> None:
        """The store tells what the model knows."""
        assert spent(self.store) == self.model


FEW = settings(
    max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_memory_does_as_the_model() -> None:
    """A new store in memory for each run."""
    run_state_machine_as_test(lambda: Machine(MemoryStore()), settings=settings(FEW, max_examples=100))


def test_sqlite_does_as_the_model() -> None:
    """One file for all runs, opened once."""
    with TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "budgets.db")
        run_state_machine_as_test(lambda: Machine(store), settings=FEW)
        store.close()


def test_redis_does_as_the_model(redis_server: RedisServer) -> None:
    """One server for all runs."""
    store = RedisStore(redis_server.url, timeout=5)
    run_state_machine_as_test(lambda: Machine(store), settings=FEW)
    store.close()

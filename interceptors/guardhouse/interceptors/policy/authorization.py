"""Two guards that ask the policy: once for the method, and for the model of every message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.chain import Guard, Stage
from guardhouse.interceptors.methods import MODEL_NAMES, NameReader
from guardhouse.interceptors.refusal import Refusal

from . import Policy
from .explain import why_not
from .grants import LONGEST_MODEL, Decision, Grant


class MethodAuthorization(Guard):
    """May this caller call this method at all? Nobody without a proven name may, but for open methods.

    Sets `call.grant` and `call.rule`. A method that nobody serves is UNIMPLEMENTED only to a caller who
    might have called it; to everybody else it is denied like any other.
    """

    stage = Stage.AUTHORIZATION

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.open_methods = policy.open_methods

    def admit(self, call: Call) -> None:
        if call.open:
            return
        if not call.principal.name:
            raise Refusal("TOKEN_MISSING", "nobody proved anything")
        grant = call.grant = self._policy.grant(call.principal)
        decision = grant.method(call.method)
        call.rule = decision.rule
        if not decision.allowed:
            raise Refusal("METHOD_DENIED", why_denied(decision, grant))
        if not call.known:
            raise Refusal("METHOD_UNKNOWN", f"allowed by {decision.rule}")


class ModelAuthorization(Guard):
    """May this caller use the model that this message names? Asked of every message of a stream.

    Sets `call.model` and `call.version`, also of a message it refuses. A model that is not there is
    NOT_FOUND to a caller who may list models, and denied like any other to one who may not.

    Args:
        exists: Whether (model, version) is served; an empty version is any.
        names: How to read (model, version) from a request, by path. Other methods are left alone.
    """

    stage = Stage.MODEL_AUTHORIZATION

    def __init__(
        self, exists: Callable[[str, str], bool], names: Mapping[str, NameReader] = MODEL_NAMES
    ) -> None:
        self._exists = exists
        self._names = names

    def inspect(self, call: Call, request: Any) -> None:
        read = self._names.get(call.method)
        if read is None:
            return
        model, version = read(request)
        call.model, call.version = model[:LONGEST_MODEL], version[:LONGEST_MODEL]
        if not call.open:
            _demand(call, model)
        if not self._exists(model, version):
            may_know = call.open or (call.grant is not None and call.grant.may_list)
            raise Refusal("MODEL_UNKNOWN" if may_know else "MODEL_DENIED", "no such model or version")


def _demand(call: Call, model: str) -> None:
    if call.grant is None:
        raise Refusal("MODEL_DENIED", "no method authorization stands before this guard")
    decision = call.grant.model(call.method, model)
    call.rule = decision.rule
    if not decision.allowed:
        raise Refusal("MODEL_DENIED", why_denied(decision, call.grant) if model else "no model named")


def why_denied(decision: Decision, grant: Grant) -> str:
    """Why not, in words for the ledger."""
    return f"denied by {decision.rule}" if decision.rule else why_not(grant)

"""The two authorization guards: what they refuse, what they tell the caller, and what the ledger."""

from types import SimpleNamespace
from typing import Any

import pytest
from grpc import StatusCode

from guardhouse.interceptors import Call, Principal, Refusal, methods
from guardhouse.interceptors.call import NOBODY
from guardhouse.interceptors.chain import Chain, Stage
from guardhouse.interceptors.policy import Policy
from guardhouse.interceptors.policy.authorization import MethodAuthorization, ModelAuthorization
from guardhouse.protos import inference_pb2

POLICY = Policy.parse("""\
roles:
  reader:
    allow: [{methods: [ModelInfer, ModelStreamInfer, acme.Own/Score], models: [digits, gone]}]
    deny: [{methods: [ServerReady]}]
  lister:
    allow:
      - {methods: [ModelInfer], models: [digits, gone]}
      - {methods: [RepositoryIndex, acme.Own/Missing]}
bindings:
  - {role: reader, api_key: reader}
  - {role: lister, api_key: lister}
""")
READER = Principal(name="reader", api_key="reader", proofs=("api_key",))
LISTER = Principal(name="lister", api_key="lister", proofs=("api_key",))
STRANGER = Principal(name="stranger", subject="stranger", proofs=("jwt",))
OTHER = "/acme.Own/Missing"


def served(name: str, version: str) -> bool:
    """Whether the model is there: digits, versions 1 and default."""
    return name == "digits" and version in {"", "1"}


def call(
    path: str = methods.MODEL_INFER, principal: Principal = READER, known: bool = True, opened: Any = False
) -> Call:
    made = Call(method=path, metadata=(), known=known, wall_ns=0, opened_ns=0, open=opened)
    made.principal = principal
    return made


def chain(**options: Any) -> Chain:
    return Chain(MethodAuthorization(POLICY), ModelAuthorization(served, **options))


def ask(model: str, version: str = "") -> Any:
    return inference_pb2.ModelInferRequest(model_name=model, model_version=version)


def refused(act: Any, *arguments: Any) -> Refusal:
    with pytest.raises(Refusal) as found:
        act(*arguments)
    return found.value


def test_an_allowed_call_knows_its_grant_and_rule() -> None:
    """A call that passes carries the grant, the model, the version and the rule that allowed it."""
    made = call()
    guards = chain()
    guards.admit(made)
    guards.inspect(made, ask("digits", "1"))
    assert made.grant is POLICY.grant(READER)
    assert (made.model, made.version, made.rule) == ("digits", "1", "reader.allow[0]")


@pytest.mark.parametrize(
    ("path", "principal", "known", "reason", "note"),
    [
        (methods.MODEL_INFER, NOBODY, True, "TOKEN_MISSING", "nobody proved anything"),
        (OTHER, NOBODY, False, "TOKEN_MISSING", "nobody proved anything"),
        (methods.MODEL_INFER, Principal(api_key="reader"), True, "TOKEN_MISSING", "nobody proved anything"),
        (methods.MODEL_INFER, STRANGER, True, "METHOD_DENIED", "the caller holds no role"),
        (methods.SERVER_LIVE, READER, True, "METHOD_DENIED", "no rule of role reader allows it"),
        (methods.SERVER_READY, READER, True, "METHOD_DENIED", "denied by reader.deny[0]"),
        (OTHER, READER, False, "METHOD_DENIED", "no rule of role reader allows it"),
        (OTHER, LISTER, False, "METHOD_UNKNOWN", "allowed by lister.allow[1]"),
    ],
)
def test_methods_refused(path: str, principal: Principal, known: bool, reason: str, note: str) -> None:
    """Who may not call a method is told no more than that; the ledger is told why."""
    refusal = refused(chain().admit, call(path, principal, known))
    assert (refusal.reason, refusal.note) == (reason, note)


def test_an_unknown_method_looks_denied_to_who_may_not_know() -> None:
    """To a caller who may not call them, a method that exists and one that does not are the same."""
    there = refused(chain().admit, call(methods.SERVER_LIVE, READER, known=True))
    absent = refused(chain().admit, call(OTHER, READER, known=False))
    assert (
        (there.code, there.words)
        == (absent.code, absent.words)
        == (
            StatusCode.PERMISSION_DENIED,
            "not allowed to call this method",
        )
    )


def test_open_methods_need_nobody() -> None:
    """An open method passes without a principal, and no grant is made for it."""
    made = call(methods.SERVER_LIVE, NOBODY, opened=True)
    chain().admit(made)
    assert made.grant is None


@pytest.mark.parametrize(
    ("principal", "model", "version", "reason", "note"),
    [
        (READER, "other", "", "MODEL_DENIED", "no rule of role reader allows it"),
        (READER, "", "", "MODEL_DENIED", "no model named"),
        (READER, "gone", "", "MODEL_DENIED", "no such model or version"),
        (READER, "digits", "9", "MODEL_DENIED", "no such model or version"),
        (LISTER, "gone", "", "MODEL_UNKNOWN", "no such model or version"),
        (LISTER, "other", "", "MODEL_DENIED", "no rule of role lister allows it"),
        (READER, "x" * 9999, "y" * 9999, "MODEL_DENIED", "no rule of role reader allows it"),
    ],
)
def test_models_refused(principal: Principal, model: str, version: str, reason: str, note: str) -> None:
    """A model denied, or not there, is refused; what was asked for stands in the call, cut to 256."""
    made = call(principal=principal)
    guards = chain()
    guards.admit(made)
    refusal = refused(guards.inspect, made, ask(model, version))
    assert (refusal.reason, refusal.note) == (reason, note)
    assert (made.model, made.version) == (model[:256], version[:256])


def test_a_missing_model_looks_denied_to_who_may_not_list() -> None:
    """To a caller who may not list models, one that is missing and one that is denied are the same."""
    made = call()
    guards = chain()
    guards.admit(made)
    missing, denied = (refused(guards.inspect, made, ask(name)) for name in ("gone", "other"))
    assert (missing.code, missing.words) == (denied.code, denied.words)


def test_every_message_of_a_stream_is_asked_about() -> None:
    """A stream whose second message names another model is refused at that message."""
    made = call(methods.MODEL_STREAM_INFER)
    guards = chain()
    guards.admit(made)
    guards.inspect(made, ask("digits"))
    assert refused(guards.inspect, made, ask("other")).reason == "MODEL_DENIED"
    assert made.model == "other"


def test_the_model_of_ones_own_service() -> None:
    """With a reader of names for a service of one's own, its models are guarded like any."""
    made = call("/acme.Own/Score")
    guards = chain(names={"/acme.Own/Score": lambda request: (request.which, "")})
    guards.admit(made)
    guards.inspect(made, SimpleNamespace(which="digits"))
    assert refused(guards.inspect, made, SimpleNamespace(which="other")).reason == "MODEL_DENIED"


def test_without_a_grant_no_model_is_allowed() -> None:
    """The model guard alone, with no method guard before it, refuses: absence never means more rights."""
    refusal = refused(ModelAuthorization(served).inspect, call(), ask("digits"))
    assert refusal.reason == "MODEL_DENIED"


def test_methods_that_name_no_model_pass_the_model_guard() -> None:
    """A message without a model's name is not this guard's concern."""
    made = call(methods.SERVER_LIVE)
    ModelAuthorization(served).inspect(made, inference_pb2.ServerLiveRequest())
    assert made.model == ""


def test_the_stages() -> None:
    """The method is decided before any message is read, the model after the message is validated."""
    assert MethodAuthorization.stage == Stage.AUTHORIZATION < Stage.RATE
    assert Stage.VALIDATION < ModelAuthorization.stage == Stage.MODEL_AUTHORIZATION


def test_the_table_of_names_fits_the_protocol() -> None:
    """Every method that names a model is in the table, and its names are read from the real message."""
    service = inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    naming = {}
    for method in service.methods:
        fields = {field.name for field in method.input_type.fields}
        if fields & {"model_name", "name"}:
            naming[f"/{service.full_name}/{method.name}"] = method.input_type
    assert naming.keys() == methods.MODEL_NAMES.keys()
    assert {method.name for method in service.methods} == methods.SERVICES[service.full_name]
    for path, message in naming.items():
        request = getattr(inference_pb2, message.name)()
        setattr(request, "model_name" if hasattr(request, "model_name") else "name", "digits")
        assert methods.MODEL_NAMES[path](request)[0] == "digits"

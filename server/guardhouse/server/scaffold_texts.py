"""The words of the files that `guardhouse init` writes: each key under a line that explains it."""

from collections.abc import Mapping
from string import Template
from typing import Final

import yaml

CONFIG: Final = Template("""\
# A guarded model. Check this file with `guardhouse check`; start it with `guardhouse serve`.
# Paths are relative to this file. Sizes and durations carry their unit.

# Host and port to listen on; 127.0.0.1 is reached from this machine alone.
listen: 127.0.0.1:8443

# How the server and its clients prove to each other who they are.
tls:
  # The server's certificate, PEM.
  certificate: pki/server.pem
  # Its private key, PEM, mode 0600.
  key: pki/server.key
  # The authority that must have signed a client's certificate.
  client_ca: pki/ca.pem
  # require: no connection without a client certificate; none: tokens alone.
  client_auth: require

# What a call must bring besides, as `authorization: Bearer ...`.
tokens:
  # Whether a call without a token or an API key is refused.
  required: true
  # Who may issue tokens; this one is for development, its key is pki/token.key.
  issuers:
    # The token's `iss`, to the letter: a name, which is never contacted.
    - issuer: $issuer
      # What the token's `aud` must hold.
      audience: $audience
      # The issuer's public keys: a file, or an https address.
      jwks: pki/jwks.json
      # The only signature algorithms accepted.
      algorithms: [$algorithm]
  # API keys, stored hashed; `guardhouse key create` adds one.
  api_keys: keys.db

# Who may call what.
policy: policy.yaml

# What is served.
models:
$models
# How much callers may use is the policy's.
limits:
  # Where it is kept what was used of limits: in this process. `sqlite:limits.db` is for all of this machine,
  # and outlasts them; `redis://HOST` is for many machines.
  store: memory

# The ledger: one line of every call, refusals included.
audit:
  # The folder of its files.
  path: ledger/
  # buffered: a line is on disk a moment after its call.
  durability: buffered
  # Signs what is on it; pki/ledger.pem is for whoever runs `guardhouse audit verify --public-key`.
  signing_key: pki/ledger.key

# Spans of every call.
tracing:
  # Where they go, as OTLP over gRPC; `guardhouse traces` listens here.
  endpoint: http://127.0.0.1:4317
""")

MODEL: Final = Template("""\
  # The name that callers use.
  - name: $name
    # Text, not a number.
    version: "1"
    # $what
    $kind: $target
""")

KINDS: Final = {
    "python": "The Python callable that is the model, as module:object.",
    "onnx": "The ONNX file that is the model.",
}

POLICY: Final = Template("""\
# Who may call what: everything is denied unless a rule here allows it.
# A bare method is one of inference.GRPCInferenceService; others are package.Service/Method.
# "*" stands for all; names match in full.

# What each role may do.
roles:
  # Asks the models.
  analyst:
    # A call passes if one of these rules allows it.
    allow:
      # Methods that name a model.
      - methods: [ModelInfer, ModelMetadata, ModelReady]
        # The models that they may name.
        models: $models
      # Methods about the server, and about oneself.
      - methods: [ServerLive, ServerReady, ServerMetadata, guardhouse.v1.Guardhouse/WhoAmI]
    # How often each holder of the role may call.
    limits:
      # Calls in the long run.
      rate: 100/s
      # Calls at once, after a rest.
      burst: 200
  # Runs the server: everything, reflection included.
  operator:
    # A call passes if one of these rules allows it.
    allow:
      # Every method.
      - methods: ["*"]
        # Every model.
        models: ["*"]
    # A ceiling only, above what this server can do: lower it where many hold the role.
    limits:
      # Calls in the long run.
      rate: 10000/s
      # Calls at once, after a rest.
      burst: 10000

# Limits of callers together, or by something else than who they are: rate, concurrency, budget.
# limits:
#   - {name: networks, rate: 1000/s, per: [peer]}

# Who holds which role; a caller may hold several.
bindings:
  # Tokens whose `roles` claim holds analyst.
  - {role: analyst, claim: {roles: analyst}}
  # Tokens whose `roles` claim holds operator.
  - {role: operator, claim: {roles: operator}}
  # API keys whose name starts with app-.
  - {role: analyst, api_key: app-*}
  # API keys whose name starts with ops-.
  - {role: operator, api_key: ops-*}
""")

PROFILE: Final = """\
# How `guardhouse infer` and the Python client reach the server. Paths are relative to this file.

# Host and port of the server.
target: 127.0.0.1:8443
# The authority that signed the server's certificate.
ca: pki/ca.pem
# The client's own certificate.
certificate: pki/client.pem
# Its private key.
key: pki/client.key
# The file that holds the token to send.
token_file: token
"""


def scalar(text: str) -> str:
    """Return `text` as a YAML scalar: bare where YAML reads it back as itself, else in quotes."""
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    try:
        return text if yaml.safe_load(f"[{text}]") == [text] else quoted
    except yaml.YAMLError:
        return quoted


def config(models: Mapping[str, tuple[str, str]], *, issuer: str, audience: str, algorithm: str) -> str:
    """Return guardhouse.yaml. `models` maps a name to its kind, a key of `KINDS`, and its target."""
    entries = (
        MODEL.substitute(name=scalar(name), what=KINDS[kind], kind=kind, target=scalar(target))
        for name, (kind, target) in models.items()
    )
    return CONFIG.substitute(models="".join(entries), issuer=issuer, audience=audience, algorithm=algorithm)


def policy(models: Mapping[str, object]) -> str:
    """Return policy.yaml for the names of `models`."""
    return POLICY.substitute(models=f"[{', '.join(scalar(name) for name in models)}]")

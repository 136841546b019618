"""What a person reads of an answer, of a refusal and of itself."""

import json

import numpy as np
import pytest
from grpc import StatusCode

from guardhouse.clients import Identity, LimitInfo, Result, errors, explain, terminal
from guardhouse.clients.datatypes import Array
from guardhouse.clients.messages import infer_request
from guardhouse.protos import inference_pb2 as pb

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def result(**outputs: Array) -> Result:
    """A result with these outputs."""
    request = infer_request("digits", outputs)
    response = pb.ModelInferResponse(model_name="digits", model_version="1")
    for tensor in request.inputs:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    response.raw_output_contents.extend(request.raw_input_contents)
    return Result(response, TRACE)


def test_label_and_probabilities() -> None:
    """A small answer is shown whole, probabilities by their three largest, with the way to the trace."""
    scores = np.array([[0.01, 0.02, 0, 0, 0, 0, 0.02, 0.95, 0, 0]], np.float32)
    found = result(label=np.array([7]), probabilities=scores)
    assert terminal.result_text(found, 0.0041).splitlines() == [
        "digits version 1, 4.1 ms",
        "  label          INT64 [1]     7",
        "  probabilities  FP32 [1, 10]  7: 0.95   6: 0.02   1: 0.02",
        f"trace {TRACE}",
        f"see it with: guardhouse traces {TRACE}",
    ]


def test_a_batch_is_shown_by_its_first_rows() -> None:
    """Of seven rows five are shown, and the rest counted."""
    lines = terminal.result_text(result(x=np.arange(14).reshape(7, 2)), 0).splitlines()
    assert [line.split()[-2:] for line in lines[1:3]] == [["0", "1"], ["2", "3"]]
    assert lines[6].strip() == "and 2 more rows"


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (np.arange(1000), "from 0 to 999, mean 499.5"),
        (np.zeros((2, 2, 2)), "from 0 to 0, mean 0"),
        (np.array([b"a"] * 100, object), "100 texts, the first 'a'"),
        (np.zeros((0, 3)), "empty"),
        (np.array(2.5), "2.5"),
        (np.array([np.nan, -1]), "nan  -1"),
        (np.array([[0.5, 0.2]]), "0: 0.5   1: 0.2"),
        (np.array([b"\x1b[2Jgone\xff"], object), r"'[2Jgone\\xff'"),
    ],
)
def test_other_arrays(array: Array, shown: str) -> None:
    """Large arrays are summed up, scalars and text shown, and nothing reaches the terminal as a command."""
    line = terminal.result_text(result(x=array), 0).splitlines()[1]
    assert line.endswith(f"  {shown}")
    assert line.isprintable()


def test_the_json_form_is_strict_json() -> None:
    """Numbers, text, bytes and what JSON has no number for become one document that any parser reads."""
    found = result(
        x=np.array([1, np.nan, np.inf, -np.inf]),
        words=np.array([b"a", b"\xff"], object),
        flag=np.array([True]),
    )
    data = json.loads(json.dumps(terminal.result_json(found, 0.0015), allow_nan=False))
    assert data["outputs"] == {
        "x": [1, "NaN", "Infinity", "-Infinity"],
        "words": ["a", {"base64": "/w=="}],
        "flag": [True],
    }
    assert (data["trace_id"], data["milliseconds"], data["datatypes"]["x"]) == (TRACE, 1.5, "FP64")


def test_who_one_is() -> None:
    """Identity and limits are aligned lines; what is empty is left out."""
    limit = LimitInfo("notebook", "rate", 100, 200, 199, 0.5)
    me = Identity("notebook", ("analyst", "operator"), ("mtls",), "", "", 2000000000, (limit,))
    assert terminal.identity_text(me).splitlines() == [
        "subject      notebook",
        "roles        analyst, operator",
        "proofs       mtls",
        "expires      2033-05-18T03:33:20Z",
        "limit rate   100/s, 199 of 200 left, full in 0.5 s, for notebook",
    ]


def test_a_limit_of_calls_at_the_same_time() -> None:
    """Such a limit has no burst and is full nobody knows when: neither is shown."""
    me = Identity("me", (), (), "", "", None, (LimitInfo("principal", "concurrency", 8, 0, 7, 0),))
    assert terminal.identity_text(me).splitlines() == [
        "subject           me",
        "roles             none",
        "limit concurrency 8 at the same time, 7 left, for principal",
    ]


@pytest.mark.parametrize(
    ("seconds", "spelt"),
    [
        (0.25, "0.25 s"),
        (119.0, "119 s"),
        (121.0, "3 min"),
        (3600.0, "1 h 0 min"),
        (26_900.0, "7 h 29 min"),
        (86_399.0, "1 d 0 h"),
        (2_600_000.0, "30 d 2 h"),
    ],
)
def test_a_time_to_wait_is_said_as_people_say_it(seconds: float, spelt: str) -> None:
    """Never less than it is, and no powers of ten."""
    error = errors.RateLimited("no", code=StatusCode.RESOURCE_EXHAUSTED, retry_after=seconds)

    assert explain.advice(error) == f"try again in {spelt}"


@pytest.mark.parametrize(
    ("left", "words"), [(2_500_000, "2500000 left"), (0, "0 left"), (-1, "what is left is not known")]
)
def test_a_budget(left: float, words: str) -> None:
    """Its name, how much in which window, and what is left: whole numbers in full, and no lie."""
    budget = LimitInfo("principal", "budget", 10_000_000, 0, left, 60, "trial", "elements/day")
    me = Identity("me", (), (), "", "", None, (budget,))

    last = terminal.identity_text(me).splitlines()[-1]
    assert last == f"limit budget trial: 10000000 elements/day, {words}, for principal"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            errors.Unauthenticated(
                "a bearer token is required",
                code=StatusCode.UNAUTHENTICATED,
                reason="TOKEN_MISSING",
                error_id="00f067aa0ba902b7",
                trace_id=TRACE,
            ),
            (
                "UNAUTHENTICATED TOKEN_MISSING: a bearer token is required; "
                "name a token_file in client.yaml, or give --token-file FILE "
                f"(error 00f067aa0ba902b7, trace {TRACE}: guardhouse traces {TRACE})"
            ),
        ),
        (
            errors.RateLimited("too many calls", code=StatusCode.RESOURCE_EXHAUSTED, retry_after=1.5),
            "RESOURCE_EXHAUSTED: too many calls; try again in 1.5 s",
        ),
        (
            errors.Unavailable(
                "Ssl handshake failed: CERTIFICATE_VERIFY_FAILED", code=StatusCode.UNAVAILABLE
            ),
            (
                "UNAVAILABLE: Ssl handshake failed: CERTIFICATE_VERIFY_FAILED; "
                "the TLS handshake failed: check ca, certificate and key in client.yaml"
            ),
        ),
        (
            errors.Unavailable("Connection refused", code=StatusCode.UNAVAILABLE),
            "UNAVAILABLE: Connection refused; check that the server runs and is named right",
        ),
        (
            errors.ResourceExhausted(
                "SERVER: Received message larger than max (5 vs. 4)", code=StatusCode.RESOURCE_EXHAUSTED
            ),
            (
                "RESOURCE_EXHAUSTED: SERVER: Received message larger than max (5 vs. 4); "
                "ask with fewer items at once"
            ),
        ),
        (
            errors.ResourceExhausted(
                "the message is too large", code=StatusCode.RESOURCE_EXHAUSTED, reason="TOO_LARGE"
            ),
            "RESOURCE_EXHAUSTED TOO_LARGE: the message is too large; ask with fewer items at once",
        ),
        (
            errors.ResourceExhausted(
                "received metadata size exceeds hard limit (9 vs. 8)", code=StatusCode.RESOURCE_EXHAUSTED
            ),
            (
                "RESOURCE_EXHAUSTED: received metadata size exceeds hard limit (9 vs. 8); "
                "send less metadata: a shorter token"
            ),
        ),
        (
            errors.ResourceExhausted("quota exceeded", code=StatusCode.RESOURCE_EXHAUSTED),
            "RESOURCE_EXHAUSTED: quota exceeded",
        ),
        (errors.GuardhouseError("gone", code=StatusCode.ABORTED), "ABORTED: gone"),
    ],
)
def test_a_refusal_in_one_line(error: errors.GuardhouseError, line: str) -> None:
    """Code, reason, words, what to do, and the ids to ask the operator with; what is unknown is left out."""
    assert explain.line(error) == line

"""Tokens of a language model that a call has used, as the model itself reports them."""

from __future__ import annotations

import threading
from operator import index
from typing import Any, Final, NamedTuple

from .call import Call, current_call
from .chain import LOG, Guard, Stage
from .methods import MODEL_INFER, MODEL_STREAM_INFER

MOST: Final = 2**53 - 1  # every store of budgets counts so far exactly
ANSWERS: Final = frozenset({MODEL_INFER, MODEL_STREAM_INFER})
INPUT, OUTPUT = "input_tokens", "output_tokens"  # parameters of an answer, fields of the ledger
_ADDING: Final = threading.Lock()


class Usage(NamedTuple):
    """Tokens that a model took in, and that it gave."""

    input: int = 0
    output: int = 0


def report_tokens(*, input: int = 0, output: int = 0) -> None:  # noqa: A002 - what people call it
    """Tell how many tokens the call being served has used, beyond those told before.

    From the model itself, wherever it runs for the call: async, or in the thread of a blocking one. What is
    told before an answer leaves is on the record; a model that works on after its call was cut off pays for
    what it tells then, too.

    Args:
        input: Tokens of the prompt.
        output: Tokens of the answer.

    Raises:
        ValueError: A number is negative, or over 2**53 - 1. TypeError: it is not whole.
        LookupError: No call is being served.
    """
    add(current_call(), index(input), index(output))


def add(call: Call, taken: int, given: int) -> None:
    """Count tokens *taken* in and *given* by the model of *call*. Raises ValueError, see `report_tokens`."""
    if not (0 <= taken <= MOST and 0 <= given <= MOST):
        message = f"{taken} and {given} are no numbers of tokens; report 0 to {MOST}"
        raise ValueError(message)
    with _ADDING:  # threads of one model may report at once
        had = call.usage or Usage()
        call.usage = Usage(min(MOST, had.input + taken), min(MOST, had.output + given))


class ReportedTokens(Guard):
    """Reads what an answer of the inference protocol says of its tokens: the int64 parameters `input_tokens`
    and `output_tokens` of each response, which count that response alone.

    What cannot be a number of tokens counts as not told at all.
    """

    stage = Stage.BUDGET

    def release(self, call: Call, response: Any) -> Any:
        """Count the tokens of *response*."""
        if call.method not in ANSWERS:
            return response
        # To look for what is not there costs protobuf more than all else here.
        answer = response if call.method == MODEL_INFER else getattr(response, "infer_response", response)
        if told := getattr(answer, "parameters", None):
            _count(call, told)
        return response


def _count(call: Call, told: Any) -> None:
    taken, given = _number(told, INPUT), _number(told, OUTPUT)
    if taken is None and given is None:
        return
    try:
        add(call, taken or 0, given or 0)
    except ValueError as error:
        LOG.error("call %016x: tokens of model %s were not counted: %s", call.span_id, call.model, error)


def _number(told: Any, name: str) -> int | None:
    """The whole number that parameter *name* holds, if it holds one."""
    if name not in told:
        return None
    kind = told[name].WhichOneof("parameter_choice")
    return getattr(told[name], kind) if kind in ("int64_param", "uint64_param") else None

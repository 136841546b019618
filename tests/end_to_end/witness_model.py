"""The models of the end-to-end tests. One doubles its input; each leaves one byte in a file for every call.

The file is the witness of what reached the model, and owes nothing to the guard's own word.
"""

import asyncio
import os
import time

import numpy as np

from guardhouse.server import model

WITNESS = os.open(os.environ["GUARDHOUSE_TEST_WITNESS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
CANARY = "canary-6f1c"


@model(inputs={"x": ("FP32", [-1])}, outputs={"y": ("FP32", [-1])})
async def double(x):
    os.write(WITNESS, b".")
    return x * 2


@model(inputs={"x": ("FP32", [-1])}, outputs={"y": ("FP32", [-1])})
def slow(x):
    os.write(WITNESS, b".")
    time.sleep(float(x[0]))
    return x


@model(inputs={"x": ("FP32", [-1])}, outputs={"y": ("FP32", [-1])})
async def patient(x):
    os.write(WITNESS, b"p")
    await asyncio.sleep(float(x[0]))
    return x


@model(inputs={"x": ("FP32", [-1])}, outputs={"y": ("FP32", [-1])})
def large(x):
    os.write(WITNESS, b".")
    return np.zeros(int(x[0]), dtype=np.float32)


@model(inputs={"x": ("FP32", [-1])}, outputs={"y": ("FP32", [-1])})
def broken(x):
    os.write(WITNESS, b".")
    raise RuntimeError(f"{CANARY} in {__file__}")


@model(inputs={"x": ("FP32", [-1])}, outputs={"y": ("FP32", [-1])})
def misshapen(x):
    os.write(WITNESS, b".")
    return np.zeros((2, 2), dtype=np.float32)


@model(inputs={"x": ("FP32", [-1])}, outputs={"y": ("FP32", [1])})
def spell(x):
    try:
        for each in x:
            os.write(WITNESS, b"s")
            if each < 0:
                raise RuntimeError(f"{CANARY} in {__file__}")
            yield np.array([each])
    finally:
        os.write(WITNESS, b"|")


@model(inputs={"x": ("FP32", [-1])}, outputs={"y": ("FP32", [1])})
async def tick(x):
    try:
        for each in x:
            os.write(WITNESS, b"t")
            yield np.array([each])
            await asyncio.sleep(0)
    finally:
        os.write(WITNESS, b"|")

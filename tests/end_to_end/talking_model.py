"""Models that report tokens, as many as their input says: [input, output, seconds to wait in between]."""

import asyncio
import time

from guardhouse.server import model, report_tokens


@model(inputs={"x": ("FP32", [3])}, outputs={"y": ("FP32", [3])})
def blocking(x):
    taken, given, wait = x
    report_tokens(input=int(taken))
    time.sleep(float(wait))
    report_tokens(output=int(given))
    return x


@model(inputs={"x": ("FP32", [3])}, outputs={"y": ("FP32", [3])})
async def waiting(x):
    taken, given, wait = x
    report_tokens(input=int(taken))
    await asyncio.sleep(float(wait))
    report_tokens(output=int(given))
    return x


@model(inputs={"x": ("FP32", [3])}, outputs={"y": ("FP32", [3])})
async def silent(x):
    await asyncio.sleep(float(x[2]))
    return x

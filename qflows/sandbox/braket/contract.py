"""Braket's own description of its API, as shipped in botocore: every request and every answer is checked against it.

botocore itself does not enforce lengths, counts and patterns (measured with 1.44.5: 11 filter values and a token of
65 characters were sent), so the service has to.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

from qflows.sandbox.errors import Refusal

_MODEL = ("data", "braket", "2019-09-01", "service-2.json.gz")
_NUMBERS = {"long": int, "integer": int, "double": (int, float), "float": (int, float)}


@cache
def model() -> dict[str, Any]:
    """The service description."""
    packed = resources.files("botocore").joinpath(*_MODEL).read_bytes()
    return json.loads(gzip.decompress(packed))


def check_request(operation: str, document: Any) -> dict[str, Any]:
    """`document` (body and path parameters) if it fits the operation's input. Raises Refusal(400) otherwise."""
    shape = model()["operations"][operation]["input"]["shape"]
    for problem in faults(shape, document):
        raise Refusal(400, problem, code="ValidationException")
    return document


def check_answer(operation: str, document: dict[str, Any]) -> dict[str, Any]:
    """`document`, provided it fits the operation's output; anything else is a bug of this emulator."""
    shape = model()["operations"][operation]["output"]["shape"]
    problems = list(faults(shape, document))
    if problems:
        raise AssertionError(f"{operation} answers outside of its contract: {'; '.join(problems[:5])}")
    return document


def error_shapes(operation: str) -> frozenset[str]:
    """Errors the operation declares."""
    return frozenset(error["shape"] for error in model()["operations"][operation].get("errors", ()))


def faults(shape_name: str, value: Any, path: str = "") -> Iterator[str]:
    """Every violation of the shape by `value`, in words."""
    shape = model()["shapes"][shape_name]
    kind = shape["type"]
    where = path or shape_name
    if kind == "structure":
        yield from _structure(shape, value, where)
    elif kind == "list":
        if not isinstance(value, list):
            yield f"{where} must be a list"
            return
        yield from _bounds(shape, len(value), where, "members")
        for index, item in enumerate(value):
            yield from faults(shape["member"]["shape"], item, f"{where}[{index}]")
    elif kind == "map":
        if not isinstance(value, dict):
            yield f"{where} must be a map"
            return
        for key, item in value.items():
            yield from faults(shape["value"]["shape"], item, f"{where}[{key!r}]")
    elif kind == "string":
        yield from _string(shape, value, where)
    elif kind == "timestamp":
        if not _is_moment(value):
            yield f"{where} must be a timestamp"
    elif kind == "boolean":
        if not isinstance(value, bool):
            yield f"{where} must be true or false"
    elif isinstance(value, bool) or not isinstance(value, _NUMBERS[kind]):
        yield f"{where} must be a number"
    else:
        yield from _bounds(shape, value, where, "as its value")


def _structure(shape: dict[str, Any], value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where} must be an object"
        return
    for name in shape.get("required", ()):
        if value.get(name) is None:
            yield f"{where}.{name} is required"
    for name, member in shape["members"].items():
        if value.get(name) is not None:
            yield from faults(member["shape"], value[name], f"{where}.{name}")


def _string(shape: dict[str, Any], value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{where} must be text"
        return
    yield from _bounds(shape, len(value), where, "characters")
    if "enum" in shape and value not in shape["enum"]:
        yield f"{where} is none of {', '.join(shape['enum'])}"
    if "pattern" in shape and not re.match(f"^(?:{shape['pattern']})$", value):
        yield f"{where} does not match {shape['pattern']}"


def _bounds(shape: dict[str, Any], size: float, where: str, of: str) -> Iterator[str]:
    if size < shape.get("min", size):
        yield f"{where} has {size} {of}, the minimum is {shape['min']}"
    if size > shape.get("max", size):
        yield f"{where} has {size} {of}, the maximum is {shape['max']}"


def _is_moment(value: Any) -> bool:
    if isinstance(value, int | float):
        return True
    try:
        return isinstance(value, str) and bool(datetime.fromisoformat(value))
    except ValueError:
        return False

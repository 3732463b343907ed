"""Whatever a result's text holds, it is this job's problem: Unreadable with the text kept, and no other exception."""

from __future__ import annotations

import base64
import io
import json
import zlib
from typing import Any

import numpy as np
import pytest

from qflows.errors import Unreadable
from qflows.programs.observables import observable
from qflows.protocol import JobSpec, RawAnswer
from qflows.providers.ibm import decoding
from qflows.testing import bell

COUNTS = JobSpec("ibm", "d", (bell(),), 4)
VALUES = JobSpec("ibm", "d", (bell(),), 4, observables=((observable("ZZ"), observable("XX")),))


def array(values: Any, dtype: Any = None) -> dict[str, Any]:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values, dtype=dtype))
    return {"__type__": "ndarray", "__value__": base64.b64encode(zlib.compress(buffer.getvalue())).decode()}


def result(fields: Any, n_pubs: int = 1) -> str:
    return json.dumps({"pub_results": [{"data": {"fields": fields}, "metadata": {}}] * n_pubs, "metadata": {}})


def bits(values: Any, num_bits: Any = 2, dtype: Any = np.uint8) -> dict[str, Any]:
    return {"c": {"array": array(values, dtype), "num_bits": num_bits}}


GOOD = [[0], [3], [3], [0]]
GARBAGE: dict[str, str] = {
    "nothing": "",
    "html": "<html>",
    "number": "7",
    "null": "null",
    "list": "[]",
    "deep": "[" * 100_000,
    "no pubs": '{"pub_results": 7}',
    "pub is text": '{"pub_results": ["x"]}',
    "no data": '{"pub_results": [{}]}',
    "no register": result({"meas": bits(GOOD)["c"]}),
    "kerneled": result({"c": array([[1 + 1j, -1j]] * 4)}),
    "averaged": result({"c": array([1 + 1j, -1j])}),
    "floats": result(bits(GOOD, dtype=float)),
    "wrong width": result(bits(GOOD, num_bits=3)),
    "width is text": result(bits(GOOD, num_bits="x")),
    "too few shots": result(bits(GOOD[:2])),
    "no shots": result(bits(np.zeros((0, 1)))),
    "one axis": result(bits([0, 1, 2, 3])),
    "four axes": result(bits([[GOOD]])),
    "two pubs": result(bits(GOOD), 2),
    "no pub": result(bits(GOOD), 0),
    "not packed": result({"c": {"array": {"__type__": "ndarray", "__value__": "AAAA"}, "num_bits": 2}}),
    "not base64": result({"c": {"array": {"__type__": "ndarray", "__value__": "%%%"}, "num_bits": 2}}),
    "objects": result({"c": {"array": {"__type__": "ndarray", "__value__": [{}, {}]}, "num_bits": 2}}),
    "truncated": result(bits(GOOD))[:150],
    "plain without samples": '{"results": [{"data": {"c": {"num_bits": 2}}}]}',
    "plain with bad hex": '{"results": [{"data": {"c": {"samples": ["0xzz"], "num_bits": 2}}}]}',
    "executor": '{"semantic_role": "sampler_v2", "schema_version": "v9"}',
    "executor tensor": '{"semantic_role": "sampler_v2", "schema_version": "v2.0", "data": [{"results": {"c": {}}}]}',
    "executor data": '{"semantic_role": "estimator_v2", "schema_version": "v2.0", "data": {"data": "x", "dtype": 1}}',
}


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("spec", [COUNTS, VALUES], ids=["counts", "values"])
def test_garbage_is_unreadable(kind: str, spec: JobSpec) -> None:
    with pytest.raises(Unreadable):
        decoding.decode(RawAnswer({"results": GARBAGE[kind].encode(), "metrics": b"{", "submission": b"[]"}), spec)


def test_good_text_beside_unreadable_metrics_gives_its_counts() -> None:
    raw = RawAnswer({"results": result(bits(GOOD)).encode(), "metrics": b"<html>", "submission": b"\xff"})
    found = decoding.decode(raw, COUNTS)
    assert found.items[0].counts == {"00": 2, "11": 2}
    assert found.cost is None
    assert decoding.decode(raw, COUNTS) == found


def test_value_that_is_not_finite_spoils_its_own_program_alone() -> None:
    two = JobSpec("ibm", "d", (bell(), bell()), 4, observables=((observable("ZZ"),),) * 2)
    pubs = [
        {"data": {"fields": {"evs": array([value]), "stds": array([0.1])}}, "metadata": {}} for value in (0.5, np.nan)
    ]
    text = json.dumps({"pub_results": pubs, "metadata": {"load": float("inf")}})
    good, bad = decoding.decode(RawAnswer({"results": text.encode()}), two).items
    assert good.expectations is not None
    assert good.expectations[0].value == 0.5
    assert bad.error is not None
    assert bad.metadata["evs"] == ["nan"]

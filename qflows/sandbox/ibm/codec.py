"""IBM's JSON: typed values `{"__type__", "__value__"}`, arrays as base64(zlib(npy)), circuits as base64(zlib(QPY)).

Written from the wire (vendor notes, sections 3 and 8), not with the client's encoder, which takes seconds to import.
"""

from __future__ import annotations

import base64
import io
import json
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from qflows.sandbox.errors import WorkError
from qflows.sandbox.ibm import catalog

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

MAX_UNPACKED = 200_000_000


def unpack(text: str) -> bytes:
    """The bytes of base64(zlib(...)), bounded."""
    stream = zlib.decompressobj()
    data = stream.decompress(base64.b64decode(text), MAX_UNPACKED)
    if stream.unconsumed_tail:
        raise WorkError("1230", f"a packed value is larger than {MAX_UNPACKED} bytes")
    return data


def pack(data: bytes) -> str:
    """base64(zlib(...))."""
    return base64.b64encode(zlib.compress(data)).decode()


def read_array(value: Any) -> np.ndarray[Any, Any]:
    """An array from its typed form, or from plain lists."""
    if isinstance(value, dict) and value.get("__type__") == "ndarray":
        inner = value["__value__"]
        if isinstance(inner, str):
            return np.load(io.BytesIO(unpack(inner)), allow_pickle=False)
        return np.asarray(inner, dtype=float)
    return np.asarray([] if value is None else value, dtype=float)


def array_shape(value: Any) -> tuple[int, ...]:
    """Shape of an array in its typed form, read from the beginning of the packed bytes."""
    inner: Any = value.get("__value__") if isinstance(value, dict) and value.get("__type__") == "ndarray" else value
    if not isinstance(inner, str):
        return np.asarray([] if inner is None else inner).shape
    head = io.BytesIO(zlib.decompressobj().decompress(base64.b64decode(inner), 4096))
    version = np.lib.format.read_magic(head)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(head)[0]


def write_array(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """The typed form of an array."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return {"__type__": "ndarray", "__value__": pack(buffer.getvalue())}


def read_circuit(value: Any) -> QuantumCircuit:
    """The circuit of a PUB: QPY, or OpenQASM 3 text (IBM's REST guides). Raises WorkError if it cannot be read."""
    from qiskit import qpy

    if isinstance(value, str):
        return _read_qasm(value)
    if not isinstance(value, dict) or value.get("__type__") != "QuantumCircuit":
        raise WorkError("1230", "a PUB begins with a circuit")
    try:
        return qpy.load(io.BytesIO(unpack(value["__value__"])))[0]
    except WorkError:
        raise
    except Exception as error:  # noqa: BLE001  (parser boundary: a bad circuit fails only its job)
        raise WorkError("1506", f"the circuit cannot be read: {error}") from None


def _read_qasm(text: str) -> QuantumCircuit:
    from qiskit import qasm3

    try:
        return qasm3.loads(text)
    except Exception as error:  # noqa: BLE001  (parser boundary: a bad text fails only its job)
        raise WorkError(catalog.BAD_QASM, f"The OpenQASM 3 program cannot be parsed: {error}") from None


def data_bin(fields: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """A DataBin, the named results of one PUB."""
    return {
        "__type__": "DataBin",
        "__value__": {"field_names": list(fields), "shape": list(shape), "fields": fields},
    }


def bit_array(bits: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Booleans of shape (*shape, shots, n), last axis clbit 0 first, as bytes: clbit 0 lowest of the LAST byte."""
    n_bits = bits.shape[-1]
    pad = -n_bits % 8
    widened = np.concatenate([np.zeros((*bits.shape[:-1], pad), dtype=bool), bits[..., ::-1]], axis=-1)
    packed = np.packbits(widened.astype(np.uint8), axis=-1, bitorder="big")
    return {"__type__": "BitArray", "__value__": {"array": write_array(packed), "num_bits": n_bits}}


def primitive_result(pubs: list[dict[str, Any]], metadata: dict[str, Any]) -> str:
    """The text of a PrimitiveResult."""
    return json.dumps({"__type__": "PrimitiveResult", "__value__": {"pub_results": pubs, "metadata": metadata}})


def spans(sizes: list[tuple[tuple[int, ...], int]], started: float, seconds: float) -> dict[str, Any]:
    """When each part ran: one span per PUB, in sequence."""
    found, begin = [], started
    for index, (shape, shots) in enumerate(sizes):
        end = begin + seconds
        elements = int(np.prod(shape, dtype=int)) if shape else 1
        found.append(
            {
                "__type__": "DoubleSliceSpan",
                "__value__": {
                    "start": {"__type__": "datetime", "__value__": datetime.fromtimestamp(begin, UTC).isoformat()},
                    "stop": {"__type__": "datetime", "__value__": datetime.fromtimestamp(end, UTC).isoformat()},
                    "data_slices": {str(index): [[*shape, shots], 0, elements, 0, shots]},
                },
            }
        )
        begin = end
    return {"__type__": "ExecutionSpans", "__value__": {"spans": found}}

"""The process that executes circuits: reads work from stdin, writes results to stdout, one frame each.

It is a separate process, because a simulation must neither stall the server nor take it down. Frames are a 4-byte
big-endian length and JSON. Work names a function `module:function` below qflows.sandbox, or in a module that a vendor
names in its `preload`; nothing else is callable.
"""

from __future__ import annotations

import importlib
import json
import os
import struct
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from qflows.sandbox.errors import WorkError

HEADER = struct.Struct(">I")
PACKAGE = "qflows.sandbox."
_preloaded: set[str] = set()


def resolve(name: str) -> Callable[[dict[str, Any]], Any]:
    """The function a piece of work names. Raises ValueError for one that is neither the sandbox's nor preloaded."""
    module, _, function = name.partition(":")
    if not (module.startswith(PACKAGE) or module in _preloaded) or not function.isidentifier():
        raise ValueError(f"{name!r} is not a function below {PACKAGE} or of a preloaded module")
    return getattr(importlib.import_module(module), function)


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Execute one piece of work. Failures of any kind become a code and a message: the next piece must still run."""
    try:
        return {"id": request["id"], "result": resolve(request["function"])(request["payload"])}
    except WorkError as error:
        return {"id": request["id"], "error": {"code": error.code, "message": error.message}}
    except MemoryError:
        return {"id": request["id"], "error": {"code": "SimulationError", "message": "out of memory"}}
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  (process boundary: outlives any circuit, also a panic of Qiskit)
        return {"id": request["id"], "error": {"code": "InternalError", "message": f"{type(error).__name__}: {error}"}}


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next frame, or None at the end of the stream."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    (length,) = HEADER.unpack(header)
    frame = stream.read(length)
    return frame if len(frame) == length else None


def main() -> None:
    """Serve until stdin closes, which also happens when the server is killed."""
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # anything a library prints must not break the frames
    for module in sys.argv[1:]:
        importlib.import_module(module)
        _preloaded.add(module)
    while (frame := read_frame(source)) is not None:
        answer = json.dumps(run(json.loads(frame)), separators=(",", ":")).encode()
        sink.write(HEADER.pack(len(answer)) + answer)
        sink.flush()


if __name__ == "__main__":
    main()

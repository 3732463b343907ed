"""From IonQ's result bodies to counts; pure functions over bytes, no socket.

v1 keys are decimal numbers, qubit 0 least significant; every qubit is reported, measured or not. v2 keys and the bits
of OpenQASM 3 registers are texts or lists with bit 0 first (docs.ionq.com, API v0.4, "OpenQASM 3": `x q[0]` on three
qubits is "100"), the reverse of v1.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qflows.errors import Unreadable
from qflows.model import Counts, ItemError, ItemResult
from qflows.programs import Program
from qflows.programs.readout import Readout, check_total, readout, sample
from qflows.protocol import JobSpec
from qflows.providers.ionq.options import is_exact
from qflows.providers.ionq.wire import failure_text, mapping

_ROUNDING_CAP = 0.02  # a larger deviation is not rounding, however few digits there are
_WIDEST = 62  # qubits whose states fit into a machine word with room for the sign


def parse(document: bytes, what: str) -> Any:
    """A stored document as JSON. Raises Unreadable if it is not JSON, or holds invalid numbers."""
    try:
        return json.loads(document, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"ionq: {what} is not JSON: {error!s:.200}", provider="ionq") from None


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def item_result(
    program: Program,
    states: Any,
    *,
    spec: JobSpec,
    seed: int,
    memory: Any = None,
    sharpened: Any = None,
) -> ItemResult:
    """Counts of one program from probabilities by state, v1 or v2.

    Exact probabilities (ideal simulator) are sampled here with `seed`; measured ones become counts by the largest
    remainder, so that they sum to the shots. Qubits that other circuits of the job have and this one lacks may have
    been measured, and misread. Probabilities that miss 1 by the rounding of their digits are scaled, with a note in the
    metadata. `sharpened`, the plurality vote over the variants of a debiased job, goes into the metadata as
    probabilities: it is another view of the same shots. Raises Unreadable unless they are probabilities.
    """
    layout, shots = readout(program), spec.shots
    width = max(one.n_qubits for one in spec.programs)
    probabilities, notes = _probabilities(states, width, layout)
    metadata: dict[str, Any] = {"notes": notes} if notes else {}
    if sharpened is not None:
        metadata["sharpened"] = _probabilities(sharpened, width, layout)[0]
    if memory is not None:
        if not isinstance(memory, list):
            raise Unreadable(f"ionq: expected a list of shots, got {str(memory)[:200]!r}", provider="ionq")
        rows = tuple(_keys(layout, _from_qubits(layout, [_state(value, width) for value in memory])))
        check_total(Counter(rows), shots, "ionq")
        return ItemResult(counts=_tally(rows), probabilities=probabilities, memory=rows, metadata=metadata)
    if shots is None:
        return ItemResult(probabilities=probabilities, metadata=metadata)
    if is_exact(spec.device_id, spec.options):
        if (told := spec.options.get("imported", {}).get("sampler_seed")) is not None:
            from qflows.providers.ionq.imports import as_its_client_drew

            if (seen := as_its_client_drew(states, program, shots, told)) is not None:
                return ItemResult(counts=seen, probabilities=probabilities, metadata=metadata)
        counts, drawn = sample(probabilities, shots, seed)
        return ItemResult(counts=counts, probabilities=probabilities, memory=drawn, metadata=metadata)
    return ItemResult(counts=_apportion(probabilities, shots), probabilities=probabilities, metadata=metadata)


def register_shots(program: Program, body: Any, *, shots: int | None) -> ItemResult:
    """Shot-by-shot results of an OpenQASM 3 job: `{"shots": [{"registers": {"b": [bit 0, bit 1, ...]}}]}`.

    Shots with a set bit in `leakage_bits` are invalid readouts, are returned in addition to the requested number, and
    are dropped and counted in the metadata, as in IonQ's own client (qiskit-ionq, 2026-07).
    """
    layout = readout(program)
    try:
        given = body["shots"]
        kept = [shot["registers"]["b"] for shot in given if not any(shot.get("leakage_bits") or [])]
        if any(len(row) != program.n_clbits or set(row) - {0, 1} for row in kept):
            raise ValueError(f"a shot is not {program.n_clbits} bits")
        values = [sum(bit << k for k, bit in enumerate(row)) for row in kept]
    except KeyError as error:
        raise Unreadable(
            f"ionq: the shots have no {error}: a compiler service that was not pinned to v0.4 loses register names",
            provider="ionq",
        ) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise Unreadable(f"ionq: shots are not in the documented shape: {error!r}", provider="ionq") from error
    words = tuple(layout.from_clbits(value) for value in values)
    check_total(Counter(words), shots, "ionq")
    leaked = len(given) - len(kept)
    notes = [f"{leaked} of {len(given)} shots leaked and were dropped"] if leaked else []
    metadata = {"leaked_shots": leaked, "notes": notes} if leaked else {}
    return ItemResult(counts=_tally(words), memory=words, metadata=metadata)


def child_failure(job: Mapping[str, Any]) -> ItemResult:
    """One circuit of a multi-circuit job that has no counts."""
    failure = mapping(job.get("failure"))
    code = failure.get("code")
    text = failure_text(failure) if failure else f"the circuit is {job.get('status')}"
    return ItemResult(error=ItemError(str(code) if code else str(job.get("status")), text))


# -- states to keys --------------------------------------------------------------------------------------------------


def _probabilities(body: Any, width: int, layout: Readout) -> tuple[dict[str, float], list[str]]:
    """Probability by counts key, and notes on any corrections."""
    import numpy as np

    v2 = mapping(mapping(mapping(body).get("probabilities")).get("registers")).get("output_all")
    states = body if v2 is None else v2
    if not isinstance(states, dict) or not states:
        raise Unreadable(f"ionq: expected probabilities by state, got {str(states)[:200]!r}", provider="ionq")
    weights = np.array([_weight(p) for p in states.values()])
    total = math.fsum(weights)
    notes: list[str] = []
    if abs(total - 1) > 1e-9:
        if not abs(total - 1) <= _rounding(states.values(), len(weights)):
            raise Unreadable(f"ionq: probabilities sum to {total}, not to 1", provider="ionq")
        notes.append(f"probabilities summed to {total:.9g} for rounding and were scaled to 1")
        weights = weights / total
    of_key = _state if v2 is None else _bitstring
    values = _from_qubits(layout, [of_key(key, width) for key in states])
    unique, places = _unique(values)
    merged = np.bincount(places, weights=weights, minlength=len(unique))
    return dict(sorted(zip(_keys(layout, unique), map(float, merged), strict=True))), notes


def _rounding(given: Any, n: int) -> float:
    """How far a sum of `n` numbers may be off if each was rounded to its written digits."""
    digits = max(_decimals(value) for value in given)
    return min(max(1e-6, n * 0.5 * 10.0**-digits), _ROUNDING_CAP)


def _decimals(value: float) -> int:
    text = repr(float(value))
    base, _, exponent = text.partition("e")
    return len(base.partition(".")[2].rstrip("0")) - int(exponent or 0)


def _weight(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e-9 <= value <= 1 + 1e-6:
        raise Unreadable(f"ionq: {str(value)[:80]} is not a probability", provider="ionq")
    return max(float(value), 0.0)


def _state(value: Any, n_qubits: int) -> int:
    text = str(value)
    # ASCII only: int() reads the digits of every script
    if not (text.isascii() and text.isdecimal()) or len(text) > n_qubits + 1 or int(text) >> n_qubits:
        raise Unreadable(f"ionq: {text[:40]!r} is not a state of {n_qubits} qubits", provider="ionq")
    return int(text)


def _bitstring(value: Any, n_qubits: int) -> int:
    text = str(value)
    if not text or len(text) > n_qubits or set(text) - {"0", "1"}:
        raise Unreadable(f"ionq: {text[:40]!r} is not a bitstring of {n_qubits} qubits", provider="ionq")
    return int(text[::-1], 2)


def _from_qubits(layout: Readout, states: Sequence[int]) -> Any:
    """Classical memory of each state: bit k of a value is classical bit k."""
    import numpy as np

    highest = max((max(pair) for pair in layout.measured), default=0)
    if highest >= _WIDEST or any(state >> _WIDEST for state in states):
        return [sum((state >> q & 1) << c for q, c in layout.measured) for state in states]
    numbers = np.array(states, dtype=np.int64)
    memory = np.zeros_like(numbers)
    for qubit, clbit in layout.measured:
        memory |= (numbers >> qubit & 1) << clbit
    return memory


def _unique(values: Any) -> tuple[Any, Any]:
    import numpy as np

    if isinstance(values, np.ndarray):
        unique, places = np.unique(values, return_inverse=True)
        return unique, places.reshape(-1)
    ordered = sorted(set(values))
    place_of = {value: place for place, value in enumerate(ordered)}
    return ordered, np.array([place_of[value] for value in values])


def _keys(layout: Readout, values: Iterable[int]) -> list[str]:
    """Counts keys of classical memories. Registers of neighboring bits, nearly all, are sliced from one text."""
    n_clbits = sum(map(len, layout.groups))
    # a group reads from its highest bit down
    if any(list(group) != list(range(group[0], group[0] - len(group), -1)) for group in layout.groups):
        return [layout.from_clbits(int(value)) for value in values]
    width = max((group[0] for group in layout.groups), default=-1) + 1
    if len(layout.groups) == 1 and width == n_clbits:
        return [f"{int(value):0{width}b}" for value in values]
    cuts = [slice(width - 1 - group[0], width - 1 - group[0] + len(group)) for group in layout.groups]
    texts = [f"{int(value):0{width}b}" for value in values]
    return [" ".join(text[cut] for cut in cuts) for text in texts]


def _apportion(probabilities: Mapping[str, float], shots: int) -> Counts:
    import numpy as np

    keys = list(probabilities)
    expected = np.array(list(probabilities.values())) * shots
    floors = np.floor(expected + 1e-9).astype(np.int64)
    missing = shots - int(floors.sum())
    # ties go to the smaller key; `probabilities` is sorted and the sort is stable
    for place in np.argsort(floors - expected, kind="stable")[: max(missing, 0)]:
        floors[place] += 1
    return Counts({key: int(n) for key, n in zip(keys, floors, strict=True) if n})


def _tally(rows: Sequence[str]) -> Counts:
    return Counts(sorted(Counter(rows).items()))

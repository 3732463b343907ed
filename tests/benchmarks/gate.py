"""How often a gate holds back a device that has not changed, and whether it sees a bad one: `make gate`.

Each night the circuits of a look are drawn from their exact distributions on a device with depolarizing and readout
errors, which scatter from night to night; the values are read, judged and decided on by the package's own functions.

stable  nights of a device that has not changed: the share that was held back
bad     thirty nights each, with noise from night n to night n + 3: dear jobs bought on those, and good nights held back
small   the same on the noisy device, with errors two to three times its own: what a gate misses
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import Statevector

from qflows.characterization import gating, references
from qflows.characterization.benchmarks import Suite
from qflows.characterization.characterize import Block
from qflows.ledger.measurements import Measurement
from qflows.model import Counts

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_KEPT = 40  # the last of a series: a window of drift and a level
FIRST = 8  # the first night with a history


@dataclass(frozen=True)
class Device:
    """`loss`: share of shots that are uniform, per two-qubit gate; `flip`: of a bit that is read; `scatter`: relative,
    from night to night."""

    loss: float = 0.01
    flip: float = 0.015
    scatter: float = 0.1


STABLE = {
    "quiet": Device(scatter=0.0),
    "scattering": Device(scatter=0.1),
    "hardly any error": Device(loss=0.0005, flip=0.0005, scatter=0.0),
    "noisy": Device(loss=0.04, flip=0.04, scatter=0.2),
}
BAD = Device(loss=0.12, flip=0.08)


def blocks(kind: str, shots: int) -> tuple[Block, ...]:
    """The circuits of a look: the probe's, or reference circuits with one right answer or with several."""
    if kind == "probe":
        return tuple(Suite(shots, sizes=(3,), mirror_circuits=0, seed=0).blocks(0, None))
    single, several = QuantumCircuit(3, 3, name="single"), QuantumCircuit(3, 3, name="several")
    single.x(0)
    for _ in range(4):
        single.cx(0, 1)
    several.h(0)
    several.cx(0, 1)
    several.cx(1, 2)
    if kind == "flat":
        several.h(1)
        several.cx(1, 2)
    made, expected = (single, {"001": 1.0}) if kind == "one answer" else (several, None)
    made.measure(range(3), range(3))
    (one,) = references.read({"circuit": made, "expected": expected or _exact(made)})
    return (references.block(one),)


KINDS = ("probe", "one answer", "two answers", "flat")


def _exact(circuit: QuantumCircuit) -> dict[str, float]:
    bare = circuit.remove_final_measurements(inplace=False)
    assert bare is not None
    return {key: float(p) for key, p in Statevector(bare).probabilities_dict().items()}


@cache
def _ideal(kind: str, shots: int) -> list[tuple[Block, list[tuple[np.ndarray, list[str], int]]]]:
    """Per block and circuit: exact shares of the measured bits, their keys, and the number of two-qubit gates."""
    found = []
    for block in blocks(kind, shots):
        circuits = []
        for one in block.circuits:
            circuit = one if isinstance(one, QuantumCircuit) else one.circuit()
            places = {
                circuit.find_bit(step.clbits[0]).index: circuit.find_bit(step.qubits[0]).index
                for step in circuit.data
                if step.operation.name == "measure"
            }
            bare = QuantumCircuit(circuit.num_qubits)
            for step in circuit.data:
                if step.operation.name not in ("measure", "barrier"):
                    bare.append(step.operation, [circuit.find_bit(q).index for q in step.qubits])
            state = np.abs(np.asarray(Statevector(bare).data)) ** 2
            clbits = sorted(places)
            shares = np.zeros(2 ** len(clbits))
            for index, share in enumerate(state):
                shares[sum((index >> places[bit] & 1) << k for k, bit in enumerate(clbits))] += share
            keys = [
                _key(circuit, {bit: value >> k & 1 for k, bit in enumerate(clbits)}) for value in range(len(shares))
            ]
            circuits.append((shares, keys, sum(len(step.qubits) == 2 for step in bare.data)))
        found.append((block, circuits))
    return found


def _key(circuit: QuantumCircuit, bits: Mapping[int, int]) -> str:
    """A key of counts: rightmost classical bit 0, registers apart by a space; bits that nobody writes are 0."""
    words = [
        "".join(str(bits.get(circuit.find_bit(bit).index, 0)) for bit in reversed(list(register)))
        for register in circuit.cregs
    ]
    return " ".join(reversed(words))


def _night(kind: str, shots: int, device: Device, night: int, rng: np.random.Generator) -> Iterator[Measurement]:
    """What one look of one night measured."""
    loss, flip = (max(0.0, rng.normal(mean, device.scatter * mean)) for mean in (device.loss, device.flip))
    for block, circuits in _ideal(kind, shots):
        counts = []
        for shares, keys, n_two in circuits:
            left = (1 - loss) ** n_two
            noisy = left * shares + (1 - left) / len(shares)
            for bit in range(len(shares).bit_length() - 1):
                noisy = (1 - flip) * noisy + flip * noisy[np.arange(len(shares)) ^ (1 << bit)]
            drawn = rng.multinomial(shots, noisy / noisy.sum())
            counts.append(Counts({key: int(n) for key, n in zip(keys, drawn, strict=True) if n}))
        for one in block.read(counts):
            if one.is_headline:
                yield Measurement(
                    run_key=f"night {night}", device="qpu", name=one.metric, family=block.family, setup="s",
                    suite="probe", value=one.value, std_error=one.std_error, unit="1", n_qubits=one.n,
                    shots=one.shots, is_headline=True, at=_BEGIN + timedelta(days=night), job_keys=(),
                    calibration=None,
                )  # fmt: skip


def nights(
    kind: str, device: Device, n: int, seed: int, *, shots: int = 200, bad: range = range(0), worse: Device = BAD
) -> list[bool]:
    """Whether the dear jobs of each night are bought."""
    rng = np.random.default_rng(seed)
    series: dict[str, list[Measurement]] = {}
    bought = []
    for night in range(n):
        for one in _night(kind, shots, worse if night in bad else device, night, rng):
            series.setdefault(one.name, []).append(one)
        bought.append(gating.health([one[-_KEPT:] for one in series.values()]).is_good)
    return bought


def stable(kind: str, device: Device, n: int, seed: int) -> tuple[int, int]:
    """Nights with a history, and how many of them were held back; in stretches of 100 such nights."""
    judged = [one for part in range(-(-n // 100)) for one in nights(kind, device, 100 + FIRST, seed + part)[FIRST:]]
    return len(judged[:n]), judged[:n].count(False)


def _worse(device: Device) -> Device:
    """The device on a bad night: errors that its nights do not scatter to."""
    return Device(loss=max(BAD.loss, 5 * device.loss), flip=max(BAD.flip, 5 * device.flip))


def bad(kind: str, device: Device, seeds: int, seed: int, worse: Device | None = None) -> tuple[int, int, int, int]:
    """Bad nights, those of them on which was bought, good nights with a history, those of them held back."""
    n_bad = bought = n_good = held = 0
    for first in (8, 12, 17, 25):
        for one in range(seeds):
            which = range(first, min(first + 4, 30))
            found = nights(kind, device, 30, seed + 1000 * first + one, bad=which, worse=worse or _worse(device))
            n_bad += len(which)
            bought += sum(found[night] for night in which)
            good = [found[night] for night in range(FIRST, 30) if night not in which]
            n_good += len(good)
            held += good.count(False)
    return n_bad, bought, n_good, held


def main() -> int:
    """Prints both tables; the exit code: whether stable nights were held back too often, or a bad one was bought."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--nights", type=int, default=1000, help="stable nights of each kind of device")
    asked.add_argument("--seeds", type=int, default=5, help="histories for each beginning of the noise")
    asked.add_argument("--seed", type=int, default=1)
    given = asked.parse_args()
    wrong = False
    print(f"{'look':<14}{'device':<20}{'stable nights':>14}{'held back':>11}{'%':>7}")
    for kind in KINDS:
        for name, device in STABLE.items():
            n, held = stable(kind, device, given.nights, given.seed * 100_000)
            # at 1 % each, more than this has a chance below 0.1 %
            too_many = 0.01 * n + 3.1 * (0.0099 * n) ** 0.5 + 1
            wrong |= held > too_many
            print(f"{kind:<14}{name:<20}{n:>14}{held:>11}{100 * held / n:>7.2f}", flush=True)
    print(f"\n{'look':<14}{'device':<20}{'bad nights':>14}{'bought':>11}{'good nights':>14}{'held back':>11}")
    for kind in KINDS:
        for name, device in STABLE.items():
            n_bad, bought, n_good, held = bad(kind, device, given.seeds, given.seed * 7_000_000)
            wrong |= bought > 0
            print(f"{kind:<14}{name:<20}{n_bad:>14}{bought:>11}{n_good:>14}{held:>11}", flush=True)
    print(f"\nnoisy device, two to three times its own errors\n{'look':<14}{'bad nights':>14}{'bought':>11}")
    for kind in KINDS:
        n_bad, bought, *_ = bad(kind, STABLE["noisy"], given.seeds, given.seed * 7_000_000, worse=BAD)
        print(f"{kind:<14}{n_bad:>14}{bought:>11}", flush=True)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())

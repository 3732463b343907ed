"""Qiskit's sampler as durable jobs."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, Unpack

from qiskit.primitives import BaseSamplerV2
from qiskit.primitives.containers import SamplerPubLike
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qflows.primitives.durable import DurableJob
from qflows.primitives.errors import also_qiskit, fitting_primitive
from qflows.primitives.origin import Origin, Purchases, by_shots
from qflows.primitives.points import programs_of
from qflows.primitives.primitive import DurablePrimitive
from qflows.primitives.pubs import check_registers, checked_shots, read_pubs
from qflows.primitives.sampler_results import KIND
from qflows.programs import Program


class SamplerV2(DurablePrimitive, BaseSamplerV2):
    """Samples circuits on a device; every call is jobs in the ledger, bought once and adopted on replay.

    `device`: name of a device as for `qflows.run`. `shots`: for PUBs without their own. `run_key` names the run
    outside a flow; inside a flow, the flow's scope at construction counts, also in threads. `options`, `session`,
    `tags`, `compile` and `physical_qubits` are those of `qflows.run`. `label` separates samplers of one run that make
    equal calls. `client`: a client to use instead of the process's own. Equal calls are separate samples within one
    attempt; the next attempt finds them again. `on_change`: what to do when a restarted run asks for something other
    than before: "raise" before anything is bought (the default on QPUs), "warn" (the default elsewhere) or "ignore".

    A result is a `PrimitiveResult` with one `SamplerPubResult` per PUB: `result[0].data.<register>` is a `BitArray` of
    the shape of the PUB, bit 0 of the register rightmost in its bit strings. Raises RunKeyMissing, UnknownDevice.
    """

    @fitting_primitive
    def __init__(
        self,
        device: str,
        *,
        shots: int = 1024,
        **purchases: Unpack[Purchases],
    ) -> None:
        self._origin = Origin.of(type(self), device, purchases, label="sampler", own=["shots"])
        self.default_shots = checked_shots(shots)

    def run(self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None) -> DurableJob:
        """Buy one call of any number of PUBs, of any shapes and shots, and return at once.

        `shots` is for PUBs without their own. Circuits of equal shots share jobs if the device takes several. Raises
        PubRejected, which is a QiskitError, before anything is recorded or sent.
        """
        chosen = self.default_shots if shots is None else shots
        read = read_pubs(pubs, lambda pub: SamplerPub.coerce(pub, chosen), "Sampler", "(circuit, values, shots)")
        with also_qiskit():
            programs: list[Program] = []
            numbers: list[int | None] = []
            laid_out = []
            for place, pub in enumerate(read):
                check_registers(pub.circuit, place)
                bound = programs_of(pub.circuit, pub.parameter_values)
                is_measured = bool(bound and bound[0].measured and pub.circuit.cregs)
                laid_out.append(_note(pub, is_measured=is_measured))
                if not pub.circuit.cregs:
                    _warn_of_no_output(place)
                if is_measured:
                    programs += bound
                    numbers += [int(pub.shots or chosen)] * len(bound)
            order = by_shots(numbers)
            note = {"kind": KIND, "pubs": laid_out, "order": order}
            batch = None
            if programs:
                planned = self._origin.plan(
                    [programs[place] for place in order],
                    [numbers[place] for place in order],
                    self._origin.options_with_memory(),
                )
                batch = self._origin.buy(planned, note, f"sampler: {len(read)} PUBs")
        return DurableJob(self._origin.holder, note, [pub.circuit.metadata for pub in read], batch)


def _note(pub: SamplerPub, *, is_measured: bool) -> dict[str, Any]:
    return {
        "shape": list(pub.shape),
        "registers": [[register.name, register.size] for register in pub.circuit.cregs],
        "shots": int(pub.shots or 0),
        "is_measured": is_measured,
    }


def _warn_of_no_output(place: int) -> None:
    warnings.warn(
        f"The {place}-th pub's circuit has no output classical registers and so the result will be empty. Did you mean "
        "to add measurement instructions?",
        UserWarning,
        stacklevel=3,
    )

"""All circuits that mitigation runs for a request, and what must be stored to read their outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qflows.core.mitigation import circuits
from qflows.core.mitigation.decoupling import decoupler
from qflows.core.mitigation.request import Shared
from qflows.errors import ProgramRejected
from qflows.programs import Feature, Program
from qflows.programs.readout import readout
from qflows.protocol import CompileWish, CompilingProvider, JobSpec, Limits, Lookup, Provider


@dataclass(frozen=True)
class LaidOut:
    """`calibrations` come first, then `points`: all circuits of each point, by basis, factor and randomization.

    `note`: JSON. Each circuit gets the shots of the request divided by `divisor`, rounded up.
    """

    calibrations: list[Program]
    points: list[list[Program]]
    note: dict[str, Any]

    @property
    def divisor(self) -> int:
        """Number of circuits that share the shots of one."""
        return int(self.note["randomizations"])

    @property
    def programs(self) -> list[Program]:
        """All programs, in the order of their results."""
        return [*self.calibrations, *(program for point in self.points for program in point)]


def lay_out(
    points: Sequence[Sequence[Program]],
    shared: Shared,
    base: JobSpec,
    provider: Provider,
    limits: Limits,
    *,
    is_estimate: bool,
    seed: str,
) -> LaidOut:
    """All circuits of a request. `points`: the measured circuits of each point, one for every basis.

    If qflows compiles for the device, circuits are compiled first and run unchanged, so that folding raises the noise
    of what runs and calibration reads the qubits that are read. Raises ProgramRejected with the reason.
    """
    request = shared.ours
    _check(request, provider, base.device_id, limits, is_estimate=is_estimate)
    decouple = decoupler(provider, base, limits) if request.dd else _unchanged
    prepare = _preparer(provider, base)
    ready = [[prepare(program) for program in point] for point in points]
    if request.twirling and not any(circuits.can_twirl(program) for point in ready for program in point):
        raise ProgramRejected("twirling: no circuit has a two-qubit Clifford gate (such as cx or cz) to twirl")
    factors = request.zne.factors if request.zne else (1,)
    randomizations = request.twirling.randomizations if request.twirling else 1
    made: list[list[Program]] = []
    reads: list[list[list[int | None]]] = []
    for number, point in enumerate(ready):
        made.append([])
        reads.append([])
        for program in point:
            circuits.split(program)
            reads[-1].append(_reads(program))
            for factor in factors:
                more = circuits.folded(program, factor)
                if request.twirling is None:
                    made[-1].append(decouple(more))
                    continue
                twirls = [circuits.twirled(more, f"{seed}/{number}/{factor}/{k}") for k in range(randomizations)]
                made[-1] += [decouple(one) for one in twirls]
    calibrations, labels = _calibrations(ready, prepare) if request.readout else ([], [])
    return LaidOut(
        calibrations * randomizations,
        made,
        {
            "version": 1,
            "factors": list(factors),
            "extrapolation": request.zne.extrapolation if request.zne else None,
            "randomizations": randomizations,
            "calibrations": len(calibrations) * randomizations,
            "labels": labels,
            "reads": reads,
            "by": dict.fromkeys(request.asked, "qflows") | dict(shared.said),
        },
    )


def _unchanged(program: Program) -> Program:
    return program


def _reads(program: Program) -> list[int | None]:
    """The qubit that each bit of a key reads, from the right; None for a bit that is never written."""
    places = program.labels or range(program.n_qubits)
    qubit_of = {clbit: places[qubit] for qubit, clbit in program.measured}
    return [qubit_of.get(clbit) for group in readout(program).groups for clbit in group][::-1]


def _check(request: Any, provider: Provider, device_id: str, limits: Limits, *, is_estimate: bool) -> None:
    if request.zne and not is_estimate:
        raise ProgramRejected("zne extrapolates expectation values; pass observables=, or leave zne out")
    if request.zne and not keeps_folding(provider, device_id, limits):
        raise ProgramRejected(
            "zne: the vendor compiles without keeping barriers, so it would undo the folding; "
            "leave zne out, or choose a device that keeps barriers"
        )


def keeps_folding(provider: Provider, device_id: str, limits: Limits) -> bool:
    """True if a circuit with repeated gates between barriers runs with all of them."""
    return _compiles_here(provider, device_id) or Feature.BARRIER in (limits.takes or ())


def _compiles_here(provider: Provider, device_id: str) -> bool:
    """True if jobs are compiled locally by default, or nothing is compiled at all."""
    return provider.capabilities.lookup is Lookup.LOCAL or "compile" in provider.options_model(device_id).model_fields


def _preparer(provider: Provider, base: JobSpec) -> Callable[[Program], Program]:
    if not isinstance(provider, CompilingProvider) or not _compiles_here(provider, base.device_id):
        return lambda program: program
    one = replace(base, shots=base.shots or 1)
    return lambda program: provider.compile(replace(one, programs=(program,)), CompileWish())


def _calibrations(
    ready: Sequence[Sequence[Program]], prepare: Callable[[Program], Program]
) -> tuple[list[Program], list[int]]:
    programs = [program for point in ready for program in point]
    placed = {program.labels is not None for program in programs}
    if len(placed) > 1:
        raise ProgramRejected("readout: some circuits name the device's qubits and some do not; use two requests")
    labels = sorted(
        {(program.labels or range(program.n_qubits))[q] for program in programs for q, _ in program.measured}
    )
    if placed == {True}:
        return [prepare(one) for one in circuits.calibrations(labels, len(labels))], labels
    # qubits without labels have the circuits' own numbers, from 0
    labels = list(range(max(labels, default=-1) + 1))
    return [prepare(one) for one in circuits.calibrations(None, len(labels))], labels


def summary(note: Mapping[str, Any]) -> dict[str, Any]:
    """What was done, for people and metadata."""
    said: dict[str, Any] = {"by": dict(note["by"])}
    if note.get("extrapolation"):
        said |= {"factors": note["factors"], "extrapolation": note["extrapolation"]}
    if note.get("randomizations", 1) > 1:
        said["randomizations"] = note["randomizations"]
    return said

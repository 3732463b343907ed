"""What a Braket device compiles a program to, as far as this can be done locally."""

from __future__ import annotations

from qflows.errors import ProgramRejected
from qflows.programs import Feature, Program
from qflows.programs.placement import on_qubits
from qflows.programs.to_native import Places, check_physical, compile_to_native
from qflows.programs.to_openqasm import in_gates_of
from qflows.protocol import CompileWish, JobSpec
from qflows.providers.braket import circuits
from qflows.providers.braket.devices import DYNAMIC, Device

_LEVEL = 2  # for the program that is shown if AWS would compile


def compiled(spec: JobSpec, device: Device, wish: CompileWish) -> Program:
    """The one program of `spec` as the device runs it. Raises ProgramRejected.

    A simulator runs what it is given. For a processor the program is compiled into native gates on its own qubits and
    is verbatim, so that AWS compiles nothing.
    """
    (program,) = spec.programs
    if device.is_simulator:
        return _for_simulator(program, spec, device, wish)
    if program.is_verbatim or spec.options.get("verbatim") or wish.level == "none":
        made = _as_written(program, device, wish)
    else:
        made = _native(program, device, wish)
    circuits.source_of(made, spec, device)
    return made


def _for_simulator(program: Program, spec: JobSpec, device: Device, wish: CompileWish) -> Program:
    if wish.level not in ("default", "none"):
        raise ProgramRejected(
            f"{program.name}: {device.name} is a simulator, which compiles nothing; leave compile out, or say 'none'"
        )
    circuits.source_of(program, spec, device)
    made = in_gates_of(program, device.dialect)
    if wish.level == "none" and made.digest != program.digest:
        raise ProgramRejected(
            f"{program.name} has gates that {device.name} does not have; leave out compile='none' and they are written "
            "in those it has"
        )
    return made if wish.physical_qubits is None else on_qubits(made, wish.physical_qubits)


def _as_written(program: Program, device: Device, wish: CompileWish) -> Program:
    labels = _labels(device)
    if wish.physical_qubits is not None:
        check_physical(program, wish.physical_qubits, labels, device.name)
        program = on_qubits(program, wish.physical_qubits)
    elif program.labels is None:
        program = program.rewritten(program.ops(), labels=range(program.n_qubits))
    return program.rewritten(program.ops(), is_verbatim=True)


def _native(program: Program, device: Device, wish: CompileWish) -> Program:
    if not program.features.isdisjoint(DYNAMIC):
        raise ProgramRejected(
            f"{program.name} measures before its end, and {device.name} takes such programs through AWS's compiler "
            "only; leave compile out"
        )
    if not device.takes_verbatim:
        raise ProgramRejected(f"{device.name} takes no verbatim programs, so AWS compiles them; leave compile out")
    made = compile_to_native(
        program,
        device.native,
        level=_LEVEL if wish.level == "default" else int(wish.level),
        places=Places(_labels(device), device.pairs),
        physical_qubits=wish.physical_qubits,
        device=device.name,
    )
    if Feature.BARRIER in device.dialect.takes:
        return made
    # nothing is compiled after this, and the device has no word for what kept its gates apart so far
    return made.rewritten([op for op in made.ops() if op[0] != "barrier"])


def _labels(device: Device) -> tuple[int, ...]:
    return device.labels or tuple(range(device.n_qubits or 0))

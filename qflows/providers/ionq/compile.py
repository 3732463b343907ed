"""What an IonQ backend compiles a program to, as far as this can be done locally. No I/O."""

from __future__ import annotations

from qflows.errors import ProgramRejected
from qflows.programs import Feature, Program
from qflows.programs.placement import on_qubits
from qflows.programs.to_native import compile_to_native
from qflows.protocol import CompileWish, JobSpec
from qflows.providers.ionq import options, wire

_LEVEL = 2  # for the program that is shown if IonQ would compile
_IN_PLACE = frozenset({Feature.DELAY, Feature.RESET, Feature.MID_CIRCUIT, Feature.FEED_FORWARD})


def compiled(spec: JobSpec, wish: CompileWish) -> Program:
    """The one program of `spec` as the backend runs it. Raises ProgramRejected.

    The ideal simulator runs what it is given, in IonQ's abstract gates. Elsewhere IonQ compiles abstract gates as it
    sees fit and runs native ones unchanged, so the program is compiled into native gates and is verbatim.
    """
    (program,) = spec.programs
    is_ideal = options.is_exact(spec.device_id, spec.options)
    if program.features & _IN_PLACE:
        wire.check_features(spec)
        raise ProgramRejected(
            f"{program.name}: IonQ compiles circuits that measure or reset before their end itself; leave out compile "
            "and physical_qubits"
        )
    if wish.physical_qubits is not None:
        program = on_qubits(program, wish.physical_qubits)
        wire.check_features(_with(spec, program))
    if is_ideal and wish.level == "default":
        return program if program.is_verbatim else wire.in_abstract_gates(program)
    if wish.level == "none" or program.is_verbatim:
        made = program if is_ideal else program.rewritten(program.ops(), is_verbatim=True)
    else:
        made = compile_to_native(
            program,
            wire.native_gates(spec.device_id, spec.options),
            level=_LEVEL if wish.level == "default" else int(wish.level),
            device=spec.device_id,
        )
    checked = _with(spec, made)
    wire.check_features(checked)
    wire.check_native(checked)
    wire.gates_of(made)
    return made


def _with(spec: JobSpec, program: Program) -> JobSpec:
    return JobSpec(spec.provider, spec.device_id, (program,), spec.shots, options=spec.options)

"""The caller's wishes for compiling, `compile=` and `physical_qubits=`, read once for all vendors.

A device with options of these names compiles when its jobs are prepared, and the two become its options. For any other
device, and for a pass manager, the program is compiled here and the job records the result; the original program stays
with it as a note.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from qflows.core.devices import Device
from qflows.errors import ProgramRejected
from qflows.programs import Feature, Program, check_program, estimation, to_program
from qflows.programs.notes import with_asked
from qflows.programs.observables import Observable, observable
from qflows.programs.panics import run_passes
from qflows.programs.placement import on_qubits, with_idle
from qflows.protocol import CompileWish, CompilingProvider, JobSpec

LEVELS = (0, 1, 2, 3)
_NAMES = ("compile", "physical_qubits")
_running = Lock()  # passes keep state while they run


@dataclass(frozen=True)
class CompileChoice:
    """A wish and the options it became; `manager`: the caller's own pass manager."""

    target: Device
    options: Mapping[str, Any]  # of the job
    wish: CompileWish
    manager: Any = None
    is_said: bool = False  # the caller set something
    _found: dict[tuple[str, bool], Program] = field(default_factory=dict, repr=False)

    @property
    def is_here(self) -> bool:
        """True if programs are compiled before they are recorded."""
        return self.is_said and (self.manager is not None or "compile" not in _own_options(self.target))

    @property
    def _by_core(self) -> bool:
        return self.is_said and "compile" not in _own_options(self.target)

    def programs(self, asked: Sequence[Program], shots: int | None) -> list[Program]:
        """The programs to record for these. Raises ProgramRejected, including for what the device would refuse
        later."""
        return [self._program(program, shots) for program in asked]

    def with_observables(
        self, asked: Program, wanted: Sequence[Observable], shots: int | None
    ) -> tuple[Program, tuple[Observable, ...]]:
        """The same for a program whose expectation values the device computes itself."""
        if self.manager is None:
            return self._program(asked, shots, wanted), tuple(wanted)
        circuit = _run(self.manager, asked)
        layout: Any = circuit.layout
        places = layout.final_index_layout() if layout is not None else list(range(asked.n_qubits))
        wide = [_moved(one, places, circuit.num_qubits) for one in wanted]
        made = self._as_written(asked, circuit)
        if made.labels is not None:  # a qubit without gates still has a value
            made = replace(with_idle(made, places), metadata=made.metadata)
        moved = estimation.fitted(made, wide)
        return self._checked(made, shots, moved), moved

    def shown(self, asked: Program, shots: int | None) -> Program:
        """The program that runs, in the device's own gates, whatever the job would record. Raises ProgramRejected."""
        program = asked if self.manager is None else self._as_written(asked, _run(self.manager, asked))
        provider = self.target.provider
        assert isinstance(provider, CompilingProvider)
        is_theirs = "compile" in _own_options(self.target)
        return provider.compile(self._spec(program, shots, ()), CompileWish() if is_theirs else self.wish)

    def _program(self, asked: Program, shots: int | None, wanted: Sequence[Observable] = ()) -> Program:
        if not self.is_said:
            return asked
        place = asked.digest, bool(wanted)
        if place not in self._found:
            made = asked if self.manager is None else self._as_written(asked, _run(self.manager, asked))
            self._found[place] = self._checked(made, shots, wanted)
        # equal programs may have different names and notes
        return replace(self._found[place], name=asked.name, metadata=with_asked(asked.metadata, asked))

    def _as_written(self, asked: Program, circuit: Any) -> Program:
        """The output of a pass manager, which nothing else may compile."""
        made = to_program(circuit, name=asked.name)
        takes = self.target.limits.takes
        if "compile" in _own_options(self.target) or (takes is not None and Feature.VERBATIM in takes):
            made = made.rewritten(made.ops(), is_verbatim=True)
        return replace(made, metadata=with_asked(asked.metadata, asked))

    def _checked(self, program: Program, shots: int | None, wanted: Sequence[Observable]) -> Program:
        """The program to record, compiled once so that nothing is recorded that cannot be compiled."""
        provider, profile = self.target.provider, self.target.profile
        if not isinstance(provider, CompilingProvider):
            raise ProgramRejected(
                f"circuits for {profile.name} are compiled by its vendor, which takes no such "
                "options; leave out compile and physical_qubits"
            )
        made = program
        if self._by_core and self.wish.level == "default":
            assert self.wish.physical_qubits is not None
            made = on_qubits(program, self.wish.physical_qubits)
            provider.check(self._spec(made, shots, wanted))
        elif self._by_core:
            made = provider.compile(self._spec(program, shots, wanted), self.wish)
        else:
            provider.compile(self._spec(program, shots, wanted), CompileWish())
        limits = self.target.limits
        check_program(
            made,
            max_qubits=limits.max_qubits,
            gates=None,
            max_bytes=None,
            allow_mid_circuit=limits.mid_circuit,
            device=profile.name,
            require_measurement=not wanted,
            takes=limits.takes,
            labels=limits.labels,
            terms=limits.terms,
        )
        return made

    def _spec(self, program: Program, shots: int | None, wanted: Sequence[Observable]) -> JobSpec:
        return JobSpec(
            provider=self.target.provider.name,
            device_id=self.target.profile.device,
            programs=(program,),
            shots=shots,
            options=self.options,
            observables=(tuple(wanted),) if wanted else (),
        )


def choose(
    target: Device, options: Mapping[str, Any], *, compile: Any = None, physical_qubits: Sequence[int] | None = None
) -> CompileChoice:
    """Read `compile` and `physical_qubits` for a device whose job has these options.

    `compile`: "default", "none", 0 to 3, or a Qiskit pass manager. Raises ProgramRejected for anything else, and for a
    conflict with the options.
    """
    manager = compile if _is_manager(compile) else None
    level = "none" if manager is not None else _level(compile)
    qubits = None if physical_qubits is None else _qubits(physical_qubits)
    if manager is not None and qubits is not None:
        raise ProgramRejected("a pass manager places the qubits itself; leave out physical_qubits, or give it a layout")
    found = dict(options)
    own = _own_options(target)
    for name, value in (("compile", level), ("physical_qubits", list(qubits) if qubits is not None else None)):
        if value is None:
            continue
        if options.get(name, value) != value:
            raise ProgramRejected(
                f"{name}={value!r} and the option {name}={options[name]!r} disagree; give only one of them"
            )
        # the output of a pass manager is marked in the program
        if name in own and not (name == "compile" and manager is not None):
            found[name] = value
    is_said = manager is not None or level not in (None, "default") or qubits is not None
    return CompileChoice(target, found, CompileWish("default" if level is None else level, qubits), manager, is_said)


def _own_options(target: Device) -> frozenset[str]:
    fields = target.provider.options_model(target.profile.device).model_fields
    return frozenset(name for name in _NAMES if name in fields)


def _is_manager(value: Any) -> bool:
    # by name: qiskit must not be imported for callers who do not use it
    return any(one.__name__ == "BasePassManager" for one in type(value).__mro__)


def _level(value: Any) -> str | int | None:
    if value is None or value in ("default", "none"):
        return value
    try:
        if not isinstance(value, bool) and (level := operator.index(value)) in LEVELS:
            return level
    except TypeError:
        pass
    raise ProgramRejected(
        f"compile={str(value)[:80]!r}: pass 'default', 'none', a level from 0 to 3, or a Qiskit pass manager"
    )


def _qubits(given: Sequence[int]) -> tuple[int, ...]:
    try:
        if isinstance(given, str | set | frozenset | Mapping):  # without an order, or with another one
            raise TypeError
        found = tuple(operator.index(one) for one in given)
    except TypeError:
        raise ProgramRejected(
            f"physical_qubits={str(given)[:80]!r}: pass a list with one device qubit for each program qubit"
        ) from None
    if not found or min(found) < 0 or len(set(found)) != len(found):
        raise ProgramRejected(f"physical_qubits={list(found)!r:.200}: name each qubit once, by its number")
    return found


def _run(manager: Any, program: Program) -> Any:
    """Apply a caller's pass manager, which may raise anything."""
    try:
        with _running:
            made = run_passes(manager, program.circuit(), program.name)
    except ProgramRejected:
        raise
    except Exception as error:
        raise ProgramRejected(
            f"{program.name}: the pass manager failed ({type(error).__name__}): {str(error)[:300]}"
        ) from error
    if not hasattr(made, "count_ops") or isinstance(made, list):
        raise ProgramRejected(f"{program.name}: the pass manager returned {type(made).__name__}, not a circuit")
    return made


def _moved(wanted: Observable, places: Sequence[int], width: int) -> Observable:
    terms = []
    for letters, coeff in wanted:
        wide = ["I"] * width
        for qubit, letter in enumerate(reversed(letters)):
            wide[width - 1 - places[qubit]] = letter
        terms.append(("".join(wide), coeff))
    return observable(terms)

"""Callers' requests as checked jobs: sources read, limits compared, lists and observables laid out."""

from __future__ import annotations

import inspect
import json
import numbers
import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from qflows.core import mitigation, references
from qflows.core.arguments import check_label, check_text, shown, tags_of
from qflows.core.batches import points
from qflows.core.batches.planning import JobLimits, Planned, job_limits, plan, refuse_composite, span
from qflows.core.compile_choice import CompileChoice, choose
from qflows.core.devices import Device
from qflows.core.references import Reference
from qflows.errors import ProgramRejected
from qflows.programs import Feature, Program, check_program, estimation, grid, to_program
from qflows.programs.grid import Sweep
from qflows.programs.observables import Observable, observable, unwrapped
from qflows.protocol import JobSpec, Provider

_PROGRAM_CAP = 4 * 1024 * 1024  # bytes of canonical text
_OPTIONS_CAP = 1024 * 1024  # a real device's noise model has 142 kB


def job_specs(
    target: Device,
    source: Any,
    *,
    shots: int | None,
    values: Any = None,
    observables: Any = None,
    options: Mapping[str, Any] | None = None,
    name: str | None = None,
    label: str = "",
    tags: Mapping[str, str] | None = None,
    session_id: str | None = None,
    compile: Any = None,
    physical_qubits: Sequence[int] | None = None,
) -> list[JobSpec]:
    """The jobs for `source` on a device, checked against its limits; nothing is sent or recorded.

    One job, unless observables need several circuits and the device takes one circuit per job. `compile` and
    `physical_qubits`: see `compile_choice.choose`. Raises ProgramRejected with the reason and the remedy.
    """
    check_label(label)
    check_text("name", name)
    program = _program(source, values, name, target)
    shots = whole(shots)
    wanted = listed_observables(observables)
    is_compiled = compile is not None or physical_qubits is not None
    _check(program, target, shots, has_observables=bool(wanted), is_compiled=is_compiled)
    choice = choose(target, _options(target.profile.options, options), compile=compile, physical_qubits=physical_qubits)
    base = JobSpec(
        provider=target.provider.name,
        device_id=target.profile.device,
        programs=(program,),
        shots=shots,
        options=choice.options,
        name=(name or program.name)[:255],
        tags=tags_of(tags),
        label=label,
        session_id=session_id,
    )
    if not wanted:
        return [replace(base, programs=tuple(choice.programs([program], shots)))]
    if target.provider.capabilities.estimator and (shots is None or not target.limits.exact):
        native = replace(base, observables=(wanted,))
        if _accepts(target.provider, native):
            compiled, moved = choice.with_observables(program, wanted, shots)
            return [replace(native, programs=(compiled,), observables=(moved,))]
    circuits, plan = estimation.plan(program, wanted)
    measured = tuple(choice.programs(circuits, shots))
    most = min(target.provider.capabilities.max_programs, target.limits.max_programs or len(measured))
    if len(measured) <= most:
        return [replace(base, programs=measured, estimate=plan)]
    return [replace(base, programs=(one,), options=base.options, estimate=plan) for one in measured]


def batch_plan(
    target: Device,
    sources: Sequence[Any],
    *,
    shots: int | Sequence[int] | None,
    observables: Any = None,
    options: Mapping[str, Any] | None = None,
    label: str = "",
    tags: Mapping[str, str] | None = None,
    max_circuits: int | None = None,
    as_batch: bool | None = None,
    mitigate: Any = None,
    seed: str = "",
    compile: Any = None,
    physical_qubits: Sequence[int] | None = None,
    reference: Any = None,
) -> Planned:
    """The jobs for a list of programs, or a sweep, on a device; nothing is recorded or sent.

    `sources` and `observables`: see `grid.read`. `shots`: one number for all, or one per program. `mitigate`: see
    `mitigation.read`; `seed`: of random twirls, so that a replay draws the same. `compile` and `physical_qubits`: see
    `compile_choice.choose`. `reference`: see `references.read`. Every program is checked. Raises ProgramRejected naming
    the circuit, ValueError for `as_batch=True` on a device that takes one circuit per job.
    """
    check_label(label)
    sources, sweep = grid.read(sources, observables)
    if as_batch not in (None, True, False):
        raise ProgramRejected(f"as_batch must be True, False or None, not {shown(as_batch)}")
    if as_batch:
        refuse_composite(target.profile.name, target.provider, target.limits.max_programs)
    given: list[Any] = [shots] * len(sources) if is_one_number(shots) else list(cast(Sequence[int], shots))
    each = [whole(one) for one in given]
    if len(each) != len(sources):
        raise ProgramRejected(
            f"{len(each)} shot numbers for {len(sources)} programs; give one number, or one per program"
        )
    programs = []
    for index, (source, number) in enumerate(zip(sources, each, strict=True)):
        try:
            program = _program(source, None, None, target)
            _check(
                program,
                target,
                number,
                has_observables=observables is not None,
                is_compiled=compile is not None or physical_qubits is not None,
            )
        except ProgramRejected as error:
            raise ProgramRejected(f"circuit {index}: {error}") from error
        programs.append(replace(program, name=program.name + sweep.label(index)) if sweep else program)
    choice = choose(target, _options(target.profile.options, options), compile=compile, physical_qubits=physical_qubits)
    base = JobSpec(
        provider=target.provider.name,
        device_id=target.profile.device,
        programs=(),
        shots=None,
        options=choice.options,
        tags=tags_of(tags),
        label=label,
    )
    limits = job_limits(
        target.provider,
        target.limits.max_programs,
        as_batch=as_batch,
        max_circuits=max_circuits,
        max_total_shots=target.limits.max_total_shots,
    )
    request = mitigation.read(mitigate)
    measured = references.read(reference)
    beside = _beside(measured, target, each, choice, is_mitigated=bool(request.asked))
    if request.asked:
        if choice.is_here:
            raise ProgramRejected(
                "mitigate adds circuits that must all be compiled alike, so compile and "
                "physical_qubits cannot be combined with it; mitigate the program that "
                "qflows.compile returns, or leave them out"
            )
        planned = _mitigated(base, programs, each, limits, sweep, target, request, f"{seed}/{label}")
    else:
        planned = replace(_planned(base, programs, each, limits, sweep, choice, beside), references=measured)
        if beside and any(spec.observables for _, spec in planned.specs):
            raise ProgramRejected(
                f"{target.profile.name} measures observables itself, so its jobs have no counts to compare with a "
                "reference; leave out observables= or reference=, or use gate= for a probe before the batch"
            )
    for indices, spec in planned.specs:
        try:
            target.provider.check(spec)
        except ProgramRejected as error:
            raise ProgramRejected(f"circuits {span(indices)}: {error}") from error
    return planned


def _program(source: Any, values: Any, name: str | None, target: Device) -> Program:
    own = target.provider.read(source)
    if own is not None:
        return replace(own, name=name) if name else own
    return to_program(source, values, name)


def _planned(
    base: JobSpec,
    programs: list[Program],
    shots: list[int | None],
    limits: JobLimits,
    sweep: Sweep | None,
    choice: CompileChoice,
    beside: Sequence[Program] = (),
) -> Planned:
    """The plan with observables: measured by the device itself if it can, otherwise by circuits of our own."""
    target = choice.target
    if sweep is None:
        return plan(base, _compiled(programs, shots, choice), shots, limits, beside=beside)
    wanted = sweep.wanted()
    if sweep.observable_shape is None:
        plain = plan(base, _compiled(programs, shots, choice), shots, limits, beside=beside)
        return replace(plain, sweep=points.noted(sweep, None))
    if target.provider.capabilities.estimator and (None not in shots or not target.limits.exact):
        native = plan(base, programs, shots, limits, wanted)
        if all(_accepts(target.provider, spec) for _, spec in native.specs):
            if choice.is_said:
                made = [choice.with_observables(*one) for one in zip(programs, wanted, shots, strict=True)]
                native = plan(base, [one for one, _ in made], shots, limits, [observables for _, observables in made])
            return replace(native, sweep=points.noted(sweep, None))
    measured, estimates = points.expand(programs, wanted)
    each = [number for number, (_, n) in zip(shots, estimates["points"], strict=True) for _ in range(n)]
    made = plan(base, _compiled(measured, each, choice), each, limits, beside=beside)
    return replace(made, sweep=points.noted(sweep, estimates))


def _beside(
    given: Sequence[Reference],
    target: Device,
    shots: Sequence[int | None],
    choice: CompileChoice,
    *,
    is_mitigated: bool,
) -> list[Program]:
    """Reference circuits as they are sent beside a batch's own. Raises ProgramRejected naming the reference."""
    if given and is_mitigated:
        raise ProgramRejected("reference cannot be combined with mitigate, which changes what all circuits give")
    if given and None in shots:
        raise ProgramRejected("reference: exact values have no health to measure; pass shots=")
    made: list[Program] = []
    number = min((n for n in shots if n is not None), default=None)
    for one in given:
        try:
            _check(one.program, target, number, has_observables=False, is_compiled=choice.is_here)
            made += choice.programs([replace(one.program, name=one.metric)], number)
        except ProgramRejected as error:
            raise ProgramRejected(f"{one.metric}: {error}") from error
    return made


def _compiled(programs: Sequence[Program], shots: Sequence[int | None], choice: CompileChoice) -> list[Program]:
    """The programs, compiled as chosen. Raises ProgramRejected naming the circuit."""
    made: list[Program] = []
    for index, (program, number) in enumerate(zip(programs, shots, strict=True)):
        try:
            made += choice.programs([program], number)
        except ProgramRejected as error:
            raise ProgramRejected(f"circuit {index}: {error}") from error
    return made


def _mitigated(
    base: JobSpec,
    programs: list[Program],
    shots: list[int | None],
    limits: JobLimits,
    sweep: Sweep | None,
    target: Device,
    request: mitigation.Request,
    seed: str,
) -> Planned:
    """One plan of everything that mitigation runs; the device applies what it offers."""
    numbers = [number for number in shots if number is not None]
    if len(numbers) < len(shots):
        raise ProgramRejected("mitigate: exact values have no errors to mitigate; pass shots=")
    provider, wanted = target.provider, sweep.wanted() if sweep and sweep.observable_shape is not None else None
    if wanted is not None and provider.capabilities.estimator and not target.limits.exact:
        whole_ = mitigation.share(provider, base.device_id, request, base.options, is_estimate=True)
        native = plan(replace(base, options=whole_.options), programs, shots, limits, wanted)
        if not whole_.ours.asked and all(_accepts(provider, spec) for _, spec in native.specs):
            return replace(native, sweep=points.noted(sweep, None) | {"mitigated_by": dict(whole_.said)})
    shared = mitigation.share(provider, base.device_id, request, base.options, is_estimate=False)
    base = replace(base, options=dict(shared.options), shots=min(numbers))
    measured, estimates = [[program] for program in programs], {"plans": [], "points": [[None, 1] for _ in programs]}
    if wanted is not None:
        flat, estimates = points.expand(programs, wanted)
        remaining = iter(flat)
        measured = [[next(remaining) for _ in range(n)] for _, n in estimates["points"]]
    laid_out = mitigation.lay_out(
        measured, shared, base, provider, target.limits, is_estimate=wanted is not None, seed=seed
    )
    estimates["points"] = [
        [text, len(made)] for (text, _), made in zip(estimates["points"], laid_out.points, strict=True)
    ]
    each = [-(-number // laid_out.divisor) for number in numbers]
    if min(each, default=target.limits.min_shots) < target.limits.min_shots:
        raise ProgramRejected(
            f"mitigate divides the shots of a circuit among {laid_out.divisor}, and {target.profile.name} takes at "
            f"least {target.limits.min_shots} each; pass shots={target.limits.min_shots * laid_out.divisor} or more"
        )
    all_shots: list[int | None] = [max(each)] * len(laid_out.calibrations)
    all_shots += [n for n, made in zip(each, laid_out.points, strict=True) for _ in made]
    made = plan(base, laid_out.programs, all_shots, limits)
    return replace(made, sweep=points.noted(sweep, estimates, laid_out.note))


def listed_observables(source: Any) -> tuple[Observable, ...]:
    """One or several observables, however nested, as a flat tuple."""
    if source is None:
        return ()
    source = unwrapped(source)
    if isinstance(source, list | tuple) and source and not _is_term(source[0]):
        return tuple(one for part in source for one in listed_observables(part))
    return (observable(source),)


def _is_term(part: Any) -> bool:
    """True for (label, coefficient); a list of these is one observable."""
    return (
        isinstance(part, tuple | list) and len(part) >= 2 and isinstance(part[0], str) and not isinstance(part[1], str)
    )


def is_one_number(shots: Any) -> bool:
    """True for one number of shots for all programs, False for one per program."""
    return isinstance(shots, numbers.Number | str) or not hasattr(shots, "__iter__")


def whole(shots: Any) -> int | None:
    """Shots as a plain int; numpy integers are accepted. Raises ProgramRejected for anything else."""
    if shots is None:
        return None
    try:
        if isinstance(shots, bool):
            raise TypeError
        return operator.index(shots)
    except TypeError:
        raise ProgramRejected(f"shots must be a whole number, not {shots!r}; {_meant(shots)}") from None


def _meant(shots: Any) -> str:
    try:
        return f"write shots={operator.index(int(float(shots)))}"
    except (TypeError, ValueError, OverflowError):
        return "write for example shots=1000; None evaluates exactly where the device can"


def _options(defaults: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise ProgramRejected(f"options must map names to values, not {given!r}; write {{'name': value}}")
    options = {**defaults, **(given or {})}
    try:
        text = json.dumps(options, allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise ProgramRejected(f"options must be plain JSON values: {error}") from error
    if len(text) > _OPTIONS_CAP:
        raise ProgramRejected(f"options are {len(text)} characters of JSON; the limit is {_OPTIONS_CAP}")
    return json.loads(text)


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as plain ones, and objects that can write themselves as JSON, such as noise models."""
    if type(value).__module__ == "numpy":
        return value.tolist()
    write = getattr(value, "to_dict", None)
    if write is None or "serializable" not in inspect.signature(write).parameters:
        raise TypeError(f"{type(value).__name__} is not one")
    return write(serializable=True)


def asked_for(
    target: Device,
    source: Any,
    *,
    shots: int | None,
    values: Any = None,
    options: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> JobSpec:
    """A job of one program as written, to be compiled. Raises ProgramRejected."""
    program = _program(source, values, name, target)
    shots = whole(shots)
    _check(program, target, shots, has_observables=False, is_compiled=True)
    return JobSpec(
        provider=target.provider.name,
        device_id=target.profile.device,
        programs=(program,),
        shots=shots,
        options=_options(target.profile.options, options),
    )


def _check(
    program: Program, target: Device, shots: int | None, *, has_observables: bool, is_compiled: bool = False
) -> None:
    limits = target.limits
    takes = limits.takes
    if takes is not None and is_compiled:  # programs compiled here keep these, even if the device has no word for them
        takes = takes | {Feature.BARRIER, Feature.PHYSICAL, Feature.VERBATIM}
    check_program(
        program,
        max_qubits=limits.max_qubits,
        gates=limits.gates,
        max_bytes=_PROGRAM_CAP,
        allow_mid_circuit=limits.mid_circuit,
        device=target.profile.name,
        require_measurement=not has_observables,
        takes=takes,
        labels=limits.labels,
        terms=limits.terms,
    )
    if shots is None:
        if not limits.exact:
            raise ProgramRejected(
                f"{target.profile.name} needs shots; pass shots=1000, or use local-exact without shots"
            )
        return
    if shots < limits.min_shots:
        raise ProgramRejected(f"shots must be a whole number of at least {limits.min_shots}, not {shots!r}")
    if limits.max_shots is not None and shots > limits.max_shots:
        raise ProgramRejected(
            f"{target.profile.name} takes at most {limits.max_shots} shots, not {shots}; split them over several jobs"
        )


def _accepts(provider: Provider, spec: JobSpec) -> bool:
    try:
        provider.check(spec)
    except ProgramRejected:
        return False
    return True

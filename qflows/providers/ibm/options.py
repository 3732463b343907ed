"""The options of an IBM job, typed. Names, values and defaults: qiskit-ibm-runtime 0.51.0 and IBM's guides, 2026-11.

Only what is set is sent, false values included; IBM decides the rest. Imports no vendor code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from qflows.errors import ProgramRejected
from qflows.protocol import VendorOptions

MAX_EXECUTION_S = 10_800  # 3 h, IBM's maximum for one job
_ZNE_FACTORS = (1, 3, 5)  # IBM's own, if none are named
PRIMITIVES = ("server", "executor")  # who prepares and reads: IBM's sampler and estimator, or the client (ADR 7)


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a whole number, not true or false")
    return value


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _distinct(value: list[int]) -> list[int]:
    if len(set(value)) != len(value):
        raise ValueError("a qubit is named twice")
    return value


Whole = Annotated[int, BeforeValidator(_no_bool)]
Count = Annotated[Whole, Field(ge=1)]
Qubits = Annotated[
    list[Annotated[Whole, Field(ge=0)]], Field(min_length=1), AfterValidator(_distinct), BeforeValidator(_as_list)
]
Level = Annotated[Literal[0, 1, 2, 3], BeforeValidator(_no_bool)]
Auto = Count | Literal["auto"]
Finite = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_no_bool)]


class _Group(BaseModel):
    """Options that the vendor's client groups under one name."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DynamicalDecoupling(_Group):
    """Pulses that refocus idle qubits; IBM's default is off."""

    enable: bool | None = None
    sequence_type: Literal["XX", "XpXm", "XY4"] | None = None
    extra_slack_distribution: Literal["middle", "edges"] | None = None
    scheduling_method: Literal["alap", "asap"] | None = None
    skip_reset_qubits: bool | None = None


class Twirling(_Group):
    """Random gates that make errors stochastic. Shots are split over randomizations."""

    enable_gates: bool | None = None
    enable_measure: bool | None = None
    num_randomizations: Auto | None = None
    shots_per_randomization: Auto | None = None
    strategy: Literal["active", "active-accum", "active-circuit", "all"] | None = None
    group: Literal["pauli", "balanced_pauli", "local_c1", "local_pauli"] | None = Field(
        default=None, description="With primitives='executor'."
    )


class Execution(_Group):
    """How shots are taken."""

    init_qubits: bool | None = Field(default=None, description="Reset all qubits before each shot; IBM's default.")
    rep_delay: Annotated[Finite, Field(ge=0)] | None = Field(
        default=None, description="Seconds between shots; IBM's default differs by device and is billed."
    )
    meas_type: Literal["classified"] | None = Field(
        default=None, description="Bits. Kerneled data (level 1) is not read by qflows."
    )
    scheduler_timing: bool | None = Field(default=None, description="With primitives='executor'.")
    stretch_values: bool | None = Field(default=None, description="With primitives='executor'.")


class MeasureNoiseLearning(_Group):
    """Circuits that measure readout errors before the job's own."""

    num_randomizations: Auto | None = None
    shots_per_randomization: Auto | None = None


class Zne(_Group):
    """Zero-noise extrapolation."""

    amplifier: Literal["gate_folding", "gate_folding_front", "gate_folding_back", "pea"] | None = None
    noise_factors: list[Annotated[Finite, Field(ge=1)]] | Literal["auto"] | None = None
    extrapolator: str | list[str] | None = None
    extrapolated_noise_factors: list[Annotated[Finite, Field(ge=0)]] | Literal["auto"] | None = None


class Pec(_Group):
    """Probabilistic error cancellation."""

    max_overhead: Annotated[Finite, Field(gt=0)] | None = None
    noise_gain: Annotated[Finite, Field(ge=0)] | Literal["auto"] | None = None


class LayerNoiseLearning(_Group):
    """Circuits that measure the noise of layers before the job's own."""

    max_layers_to_learn: Annotated[Whole, Field(ge=0)] | None = None
    shots_per_randomization: Count | None = None
    num_randomizations: Count | None = None
    layer_pair_depths: list[Annotated[Whole, Field(ge=0)]] | None = None


class Resilience(_Group):
    """Error mitigation of expectation values; each part runs more circuits than were requested."""

    measure_mitigation: bool | None = None
    measure_noise_learning: MeasureNoiseLearning | None = None
    zne_mitigation: bool | None = None
    zne: Zne | None = None
    pec_mitigation: bool | None = None
    pec: Pec | None = None
    layer_noise_learning: LayerNoiseLearning | None = None


class IBMOptions(VendorOptions):
    """What `options=` may hold for an IBM device."""

    compile: Literal["default", "none"] | Level | None = Field(
        default=None,
        description="default (as it is if the circuit is in the device's own gates, else level 2), none, or a level.",
    )
    optimization_level: Level | None = Field(default=None, description="The same as compile with a level.")
    initial_layout: Qubits | None = Field(
        default=None, description="Device qubits for the program's, in order; the compiler may still route."
    )
    physical_qubits: Qubits | None = Field(
        default=None, description="Device qubits for the program's, in order, and no others: nothing is moved."
    )
    seed_transpiler: Annotated[Whole, Field(ge=0)] | None = None
    use_fractional_gates: bool | None = Field(
        default=None, description="Compile to rx and rzz with angles; not with twirled gates, PEC or PEA."
    )
    literal_angles: bool | None = Field(
        default=None, description="Every program is a PUB of its own, instead of points of a parameter sweep."
    )
    memory: bool | None = Field(default=None, description="Keep the outcome of every shot; on unless set to false.")
    private: bool | None = Field(default=None, description="IBM shows no inputs, and the result only once.")
    primitives: Literal["server", "executor"] | None = None
    max_execution_time: Annotated[Whole, Field(ge=1, le=MAX_EXECUTION_S)] | None = Field(
        default=None,
        description="QPU seconds after which IBM cancels the job. Default: 3 times the estimate, at least 600 s; with "
        "PEC or PEA IBM's default, the plan's maximum (600 s on Open, 10800 s on paid plans).",
        json_schema_extra={
            "vendor_default": "set by qflows, not by IBM: 3 times the estimate, at least 600 s",
            "costs": "a job that hangs is billed until then",
        },
    )
    dynamical_decoupling: DynamicalDecoupling | None = None
    twirling: Twirling | None = None
    execution: Execution | None = None
    experimental: dict[str, Any] | None = None
    resilience_level: Annotated[Literal[0, 1, 2], BeforeValidator(_no_bool)] | None = Field(
        default=None,
        description="Of expectation values.",
        json_schema_extra={
            "vendor_default": 1,
            "costs": "level 1 learns readout errors (32 x shots more on Heron), level 2 runs every circuit three times",
        },
    )
    resilience: Resilience | None = None
    seed_estimator: Annotated[Whole, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _agree(self) -> IBMOptions:
        if self.compile is not None and self.optimization_level not in (None, self.compile):
            raise ValueError("compile and optimization_level disagree; set one of them")
        if self.initial_layout is not None and self.physical_qubits is not None:
            raise ValueError("initial_layout and physical_qubits exclude each other; set one of them")
        twirled = self.twirling is not None and bool(self.twirling.enable_gates)
        resilience = self.resilience or Resilience()
        amplified = resilience.zne is not None and resilience.zne.amplifier == "pea"
        if self.use_fractional_gates and (twirled or resilience.pec_mitigation or amplified):
            raise ValueError("fractional gates exclude twirled gates, PEC and PEA (qiskit-ibm-runtime issue 2001)")
        return self


def read(options: Mapping[str, Any]) -> IBMOptions:
    """Options of a job, checked. Raises ProgramRejected naming the first wrong one and the allowed ones."""
    unknown = sorted(set(options) - set(IBMOptions.model_fields))
    if unknown:
        known = ", ".join(sorted(IBMOptions.model_fields))
        raise ProgramRejected(f"ibm has no option {unknown[0]!r}; the options are {known}")
    try:
        return IBMOptions.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
    # the arms of a union are not part of the name
    names = [str(part) for part in first["loc"] if isinstance(part, int) or str(part).isidentifier()]
    place = ".".join(names) or "the options"
    raise ProgramRejected(f"ibm option {place}: {first['msg'].removeprefix('Value error, ')}")


def check_kind(options: IBMOptions, *, is_estimate: bool, shots: int) -> None:
    """Raise ProgramRejected for options that mean nothing for this kind of job, or that lose shots."""
    given = options.model_fields_set
    for name in ("resilience_level", "resilience", "seed_estimator"):
        if not is_estimate and name in given:
            raise ProgramRejected(f"ibm option {name} is for expectation values; pass observables=")
    is_executor = options.primitives == "executor"
    if is_executor and "seed_estimator" in given:
        raise ProgramRejected("ibm option seed_estimator is IBM's own estimator's; leave out primitives='executor'")
    twirling, execution = options.twirling or Twirling(), options.execution or Execution()
    theirs = [f"twirling.{n}" for n in twirling.model_fields_set & {"group"}]
    theirs += [f"execution.{n}" for n in execution.model_fields_set & {"scheduler_timing", "stretch_values"}]
    if theirs and not is_executor:
        raise ProgramRejected(f"ibm option {theirs[0]} needs primitives='executor'")
    if is_estimate and execution.meas_type is not None:
        raise ProgramRejected("ibm option execution.meas_type is for counts, not for expectation values")
    groups, each = twirling.num_randomizations, twirling.shots_per_randomization
    if isinstance(groups, int) and isinstance(each, int) and groups * each < shots:
        raise ProgramRejected(
            f"twirling gives {groups} x {each} = {groups * each} shots, {shots} were requested; raise "
            f"num_randomizations to {math.ceil(shots / each)}, or leave one of the two to IBM"
        )


def mitigation(technique: str, settings: Mapping[str, Any], *, is_estimate: bool) -> dict[str, Any] | None:
    """The options that request a mitigation technique from IBM; None for what it does not do with counts.

    Richardson's extrapolation through k points is IBM's polynomial of degree k-1 (qiskit-ibm-runtime 0.51.0,
    `ZneOptions.extrapolator`).
    """
    if technique == "dd":
        return {"dynamical_decoupling": {"enable": True}}
    if technique == "twirling":
        number = settings.get("randomizations")
        return {"twirling": {"enable_gates": True} | ({"num_randomizations": number} if number else {})}
    if not is_estimate:
        return None
    if technique == "readout":
        return {"resilience": {"measure_mitigation": True}}
    if technique != "zne":
        return None
    zne: dict[str, Any] = {}
    if "factors" in settings:
        zne["noise_factors"] = list(settings["factors"])
    if (kind := settings.get("extrapolation")) is not None:
        degree = len(settings.get("factors", _ZNE_FACTORS)) - 1
        zne["extrapolator"] = f"polynomial_degree_{degree}" if kind == "richardson" else kind
    return {"resilience": {"zne_mitigation": True} | ({"zne": zne} if zne else {})}


def is_twirled(options: Mapping[str, Any]) -> bool:
    """True if shots are split over randomizations, which rounds their number up."""
    twirling = options.get("twirling")
    return isinstance(twirling, Mapping) and bool(twirling.get("enable_gates") or twirling.get("enable_measure"))


def compile_level(options: Mapping[str, Any]) -> str | int:
    """`default`, `none` or a level of Qiskit's preset pass managers."""
    chosen = options.get("compile")
    chosen = options.get("optimization_level") if chosen is None else chosen
    return "default" if chosen is None else chosen

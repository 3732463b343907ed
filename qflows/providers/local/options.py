"""What jobs on local devices may ask for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from qflows.errors import ProgramRejected
from qflows.protocol import JobSpec, VendorOptions

Probability = Annotated[float, Field(ge=0, le=1)]
_SEED = 1  # the same program compiles to the same circuit in every job, only its shots differ


class LocalOptions(VendorOptions):
    """Options of every local device."""

    memory: bool = Field(default=False, description="Keep the outcome of every shot, in order.")


class AerOptions(LocalOptions):
    """Options of a simulator with shots; ideal unless they name noise."""

    method: Literal["automatic", "statevector", "stabilizer", "matrix_product_state", "density_matrix"] = Field(
        default="automatic", description="Simulation method of Qiskit Aer; automatic chooses by width and gates."
    )
    noise_model: dict[str, Any] | None = Field(
        default=None, description="An Aer noise model: NoiseModel.to_dict(serializable=True)."
    )
    depolarizing_1q: Probability | None = Field(default=None, description="Depolarizing error of one-qubit gates.")
    depolarizing_2q: Probability | None = Field(default=None, description="Depolarizing error of two-qubit gates.")
    readout_error: Probability | None = Field(default=None, description="Chance that a measured bit is flipped.")

    @property
    def has_strengths(self) -> bool:
        """True if the noise is given by its strengths."""
        return any(one is not None for one in (self.depolarizing_1q, self.depolarizing_2q, self.readout_error))

    @model_validator(mode="after")
    def _one_noise(self) -> AerOptions:
        if self.noise_model is not None and self.has_strengths:
            raise ValueError("noise_model and the noise strengths exclude each other")
        return self


class NoisyOptions(AerOptions):
    """Options of a device with the noise and the couplings of an IBM snapshot.

    Strengths of noise, or a noise model, replace the noise of the snapshot; couplings and gates stay.
    """

    snapshot: str | None = Field(default=None, description="Another IBM snapshot, e.g. torino.")
    compile: Literal["default", "none", 0, 1, 2, 3] = Field(
        default="default", description="none runs the circuit as it is; a number is Qiskit's optimization level."
    )
    optimization_level: Literal[0, 1, 2, 3] | None = Field(default=None, description="The same as a level of compile.")
    seed_transpiler: int = Field(default=_SEED, ge=0, description="Seed of the compiler.")
    initial_layout: list[int] | None = Field(
        default=None, description="Qubit of the device for each of the program; the compiler may still route."
    )
    physical_qubits: list[int] | None = Field(
        default=None, description="Qubit of the device for each of the program, and no other: nothing is moved."
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> NoisyOptions:
        if self.optimization_level is not None and self.compile not in ("default", self.optimization_level):
            raise ValueError("compile and optimization_level disagree")
        if None not in (self.initial_layout, self.physical_qubits) and self.initial_layout != self.physical_qubits:
            raise ValueError("initial_layout and physical_qubits disagree")
        layout = self.layout
        if layout is not None and (len(set(layout)) != len(layout) or min(layout, default=0) < 0):
            raise ValueError("a layout names each qubit once, by its number")
        return self

    @property
    def layout(self) -> list[int] | None:
        """Where the program's qubits go, if the caller decides."""
        return self.initial_layout if self.initial_layout is not None else self.physical_qubits

    @property
    def level(self) -> int | None:
        """Qiskit's optimization level; None runs the circuit as it is."""
        if self.compile == "none":
            return None
        if isinstance(self.compile, int):
            return self.compile
        return self.optimization_level if self.optimization_level is not None else 1


def model_of(device_id: str) -> type[LocalOptions]:
    """The options that a device takes."""
    if device_id.startswith("noisy:"):
        return NoisyOptions
    return AerOptions if device_id == "aer" else LocalOptions


def read_options(spec: JobSpec) -> LocalOptions:
    """The options of a job. Raises ProgramRejected naming the first that is wrong."""
    model = model_of(spec.device_id)
    try:
        return model.model_validate(dict(spec.options))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        raise ProgramRejected(
            f"{spec.device_id} has no option {where!r}; the options are {', '.join(model.model_fields)}"
        )
    raise ProgramRejected(f"option {where or 'set'} of {spec.device_id}: {first['msg']}")

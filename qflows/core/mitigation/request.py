"""What a caller may request as `mitigate=`, and who does it: the vendor if it offers it, otherwise qflows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from qflows.errors import ProgramRejected

Extrapolation = Literal["richardson", "linear", "exponential"]
TECHNIQUES = ("readout", "zne", "twirling", "dd")
_MAX_FACTOR = 99


class Zne(BaseModel):
    """Zero-noise extrapolation by global folding."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    factors: tuple[int, ...] = Field(
        default=(1, 3, 5), description="Noise factors: odd numbers, ascending; 1 is the circuit itself."
    )
    extrapolation: Extrapolation = Field(default="richardson", description="How to extrapolate to zero noise.")

    @field_validator("factors")
    @classmethod
    def _odd(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(value) < 2 or list(value) != sorted(set(value)):
            raise ValueError("give two or more different factors, in ascending order")
        if any(one < 1 or one % 2 == 0 or one > _MAX_FACTOR for one in value):
            raise ValueError(f"folding gives odd factors from 1 to {_MAX_FACTOR}")
        return value


class Twirling(BaseModel):
    """Random Paulis around two-qubit Clifford gates that change nothing but the errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    randomizations: int = Field(
        default=8, ge=2, le=1000, description="Number of twirled circuits that replace one; they share its shots."
    )


class Request(BaseModel):
    """The techniques of a call with their settings; None or False: not asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    readout: bool = Field(default=False, description="Correct readout errors, which two calibration circuits measure.")
    zne: Zne | None = None
    twirling: Twirling | None = None
    dd: bool = Field(default=False, description="Dynamical decoupling of idle qubits.")

    @property
    def asked(self) -> tuple[str, ...]:
        """The names of the techniques, in the order of `TECHNIQUES`."""
        return tuple(name for name in TECHNIQUES if getattr(self, name))

    def without(self, names: Mapping[str, Any]) -> Request:
        """The request without some techniques."""
        return self.model_copy(update={name: Request.model_fields[name].default for name in names})


def read(source: Any) -> Request:
    """The request of `mitigate=`: a name, several, or a mapping of names to settings. Raises ProgramRejected."""
    if source is None or source is False:
        return Request()
    if isinstance(source, Request):
        return source
    if not isinstance(source, Iterable):
        raise ProgramRejected(f"mitigate: {source!r:.60} is not a technique; choose from {', '.join(TECHNIQUES)}")
    names = [source] if isinstance(source, str) else list(source)
    wrong = [name for name in names if name not in TECHNIQUES]
    if wrong:
        raise ProgramRejected(
            f"mitigate: unknown technique {str(wrong[0])[:60]!r}; choose from {', '.join(TECHNIQUES)}"
        )
    settings: Mapping[str, Any] = source if isinstance(source, Mapping) else {}
    defaults: dict[str, Any] = {"readout": True, "dd": True, "zne": {}, "twirling": {}}
    given = {name: defaults[name] if settings.get(name) in (None, True, {}) else settings[name] for name in names}
    try:
        return Request.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        known = ", ".join({"zne": Zne, "twirling": Twirling}[str(first["loc"][0])].model_fields)
        raise ProgramRejected(f"mitigate: unknown setting {place}; choose from {known}")
    raise ProgramRejected(f"mitigate: {place}={first['input']!r:.60}: {first['msg'].removeprefix('Value error, ')}")


@runtime_checkable
class MitigatingProvider(Protocol):
    """A vendor that mitigates errors itself."""

    @property
    def name(self) -> str:
        """The vendor."""
        ...

    def mitigation(
        self, device_id: str, technique: str, settings: Mapping[str, Any], *, is_estimate: bool
    ) -> Mapping[str, Any] | None:
        """The options that request a technique from the vendor; None if it does not offer it. No I/O.

        `settings`: the fields of `Zne` and the others that the caller set. `is_estimate`: the vendor itself computes
        expectation values.
        """
        ...


@dataclass(frozen=True)
class Shared:
    """A request divided between vendor and qflows. `said`: who does what, for people; `options`: what is sent to the
    vendor."""

    ours: Request
    options: Mapping[str, Any]
    said: Mapping[str, str] = field(default_factory=dict)


def share(provider: Any, device_id: str, request: Request, options: Mapping[str, Any], *, is_estimate: bool) -> Shared:
    """Assign to the vendor what it offers. The caller's own options take precedence."""
    made: dict[str, Any] = dict(options)
    said: dict[str, str] = {}
    for name in request.asked if isinstance(provider, MitigatingProvider) else ():
        one = getattr(request, name)
        settings = one.model_dump(exclude_unset=True) if isinstance(one, BaseModel) else {}
        wanted = provider.mitigation(device_id, name, settings, is_estimate=is_estimate)
        if wanted is not None:
            made = _merged(wanted, made)
            said[name] = f"{provider.name}: {_words(wanted)}"
    return Shared(request.without(said), made, said)


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(under)
    for name, value in over.items():
        inner = found.get(name)
        found[name] = _merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return found


def _words(options: Mapping[str, Any], before: str = "") -> str:
    return ", ".join(
        _words(value, f"{before}{name}.") if isinstance(value, Mapping) else f"{before}{name}={value}"
        for name, value in options.items()
    )

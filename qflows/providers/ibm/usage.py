"""The expected charge of a job, in QPU seconds.

From 14 bills of marrakesh and phoenix, September 2026 (SSIT-Q/gradvar-phoenix): a constant for each job, and for each
execution the pause between shots, the circuit and its readout. IBM charges whole seconds, at least 3.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from qflows.model import Quote, exact
from qflows.programs.observables import group_qubitwise
from qflows.protocol import JobSpec
from qflows.providers.ibm import options

LONGEST_PAUSE_S = 4e-3  # Nighthawk r1
DEFAULT_PAUSE_S = 250e-6  # Heron
MINIMUM_S = 3
_LEAST_CAP_S = 600
_MARGIN = 1.2
_JOB_S, _MITIGATED_JOB_S = 5.0, 8.0
_EXECUTION_S = 20e-6  # circuit, readout (1.9 to 2.7 us) and about 8 us of control, rounded up
_LEARNING = 32  # executions per shot that learn readout errors, level 1 and above
_ZNE_FACTORS = 3


def pause_s(backend: Any) -> float:
    """The device's default pause between shots, seconds."""
    told = getattr(backend.configuration(), "default_rep_delay", None)  # seconds in the client's object
    return float(told) if isinstance(told, int | float) and told > 0 else DEFAULT_PAUSE_S


def quote(spec: JobSpec, pause: float, of: str) -> Quote:
    """The estimate, with the time after which IBM ends the job as bound, which is sent with it; the longest of any plan
    if none is sent."""
    most = spec.options.get("max_execution_time") or cap_s(spec, pause)
    ended = f"bound: max_execution_time {most} s" if most else "bound: IBM's own limit, lower with max_execution_time"
    expected = exact(estimate_s(spec, pause))
    bound = max(Decimal(most or options.MAX_EXECUTION_S), Decimal(MINIMUM_S))
    told = f"formula over 14 bills of 2026-09 with {of}, 1.5 to 2.5 times the charge; {ended}"
    return Quote(min(expected, bound), bound, "qpu_s", told)


def cap_s(spec: JobSpec, pause: float) -> int | None:
    """The max_execution_time of a job whose options name none: 3 times the estimate, at least 600 s.

    IBM's own default is the plan's maximum, so that a job that hangs is billed for 3 hours on paid plans; 600 s is the
    maximum of the Open plan. None, hence IBM's default, for PEC and PEA, whose overhead is unknown beforehand.
    """
    resilience = spec.options.get("resilience") or {}
    if resilience.get("pec_mitigation") or (resilience.get("zne") or {}).get("amplifier") == "pea":
        return None
    return min(max(_LEAST_CAP_S, math.ceil(3 * estimate_s(spec, pause))), options.MAX_EXECUTION_S)


def estimate_s(spec: JobSpec, pause: float) -> float:
    """Seconds to reserve for the job: above the charge of every known bill, by a factor of up to 2.5."""
    shots = spec.shots or 0
    told = (spec.options.get("execution") or {}).get("rep_delay")
    pause = pause if told is None else float(told)
    wanted = [spec.observables_of(i) for i in range(len(spec.programs))]
    runs = shots * sum(len(group_qubitwise(observables)) if observables else 1 for observables in wanted)
    is_estimate = any(wanted)
    level = spec.options.get("resilience_level")
    level = (1 if level is None else level) if is_estimate else 0
    resilience = (spec.options.get("resilience") or {}) if is_estimate else {}
    zne = resilience.get("zne_mitigation")
    if zne or (zne is None and level == 2):
        runs *= len((resilience.get("zne") or {}).get("noise_factors") or ()) or _ZNE_FACTORS
    learns = resilience.get("measure_mitigation")
    learns = level >= 1 if learns is None else learns
    runs += _LEARNING * shots if learns else 0
    constant = _MITIGATED_JOB_S if level >= 1 or learns else _JOB_S
    return float(max(MINIMUM_S, math.ceil(_MARGIN * (constant + runs * (pause + _EXECUTION_S)))))

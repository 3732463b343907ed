"""What dry runs on a QPU and jobs of OpenQASM 3 on the simulator show. Both cost nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from qflows.errors import Ambiguous, NotSent, ProviderError, Refused
from qflows.protocol import Bench, Fact, Phase
from qflows.protocol.probing import ENDED, until
from qflows.providers.ionq import wire
from qflows.providers.ionq.http import IonQHttp, path
from qflows.providers.ionq.options import MIN_DEBIASING_SHOTS, SIMULATOR

_NAME = "qflows doctor"
_EXPLICIT = {"error_mitigation": {"debiasing": False, "symmetry_verification": False}}
_CIRCUIT = {"gateset": "qis", "qubits": 1, "circuit": [{"gate": "x", "target": 0}]}
_CLIENTS_SHOTS = 10_000  # what qiskit-ionq 1.1.1 declares for QPUs; the description says 1,000,000
_MOST_SHOTS = 1_000_000
_OPENQASM = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[2] q;\nbit[2] c;\nx q[0];\n{}\n'
_EARLY = "c[0] = measure q[0];\nreset q[0];\nc[1] = measure q[0];"
_END = "c[0] = measure q[0];\nc[1] = measure q[1];"
_WORDS = {"barrier": "barrier q;", "delay": "delay[100ns] q[0];"}
_ON_QPU = ("debiasing_default", "qpu_max_shots", "qpu_mid_circuit")


class NotDry(ProviderError):
    """A dry run was not taken as one; the job is cancelled."""


class FreeProbe:
    """Jobs that cost nothing, outside of the ledger: each is watched to its end, or cancelled."""

    def __init__(self, http: IonQHttp, bench: Bench) -> None:
        self._http, self._bench = http, bench

    def on_qpu(self, backend: str) -> Iterator[Fact]:
        """Mitigation where it is left out, most shots, and mid-circuit measurement, from dry runs."""
        try:
            plain = self._dry(backend, shots=MIN_DEBIASING_SHOTS, settings=_EXPLICIT)
            left_out = self._dry(backend, shots=MIN_DEBIASING_SHOTS, settings=None)
            yield self._debiasing(plain, left_out)
            yield self._max_shots(backend)
            yield self._mid_circuit(backend)
        except ProviderError as error:
            for name in _ON_QPU:
                yield Fact(name, None, str(error)[:200])

    def _debiasing(self, plain: Mapping[str, Any], left_out: Mapping[str, Any]) -> Fact:
        without, default = self._quote(plain), self._quote(left_out)
        if without is None or default is None:
            return Fact("debiasing_default", None, "the dry runs have no price")
        note = f"{MIN_DEBIASING_SHOTS} shots are quoted at {default:g}, {without:g} with debiasing off"
        return Fact("debiasing_default", "on" if default > without else "off", note)

    def _max_shots(self, backend: str) -> Fact:
        try:
            self._dry(backend, shots=_CLIENTS_SHOTS + 1, settings=_EXPLICIT)
        except Refused as error:
            return Fact("qpu_max_shots", _CLIENTS_SHOTS, f"refused: {error.vendor_message}"[:200])
        return Fact("qpu_max_shots", _MOST_SHOTS, f"{_CLIENTS_SHOTS + 1} are taken; the description says {_MOST_SHOTS}")

    def _mid_circuit(self, backend: str) -> Fact:
        source = {"data": _OPENQASM.format(_EARLY)}
        try:
            job = self._dry(backend, shots=100, settings=_EXPLICIT, kind=wire.QASM3, source=source)
        except Refused as error:
            return Fact("qpu_mid_circuit", False, f"refused: {error.vendor_message}"[:200])
        is_taken = wire.observation(job).phase is Phase.DONE
        return Fact("qpu_mid_circuit", is_taken, str(wire.mapping(job.get("failure")).get("message") or ""))

    def on_simulator(self) -> Iterator[Fact]:
        """Words of OpenQASM 3 that no page settles, and what becomes of `target` in place of `backend`."""
        for word, statement in _WORDS.items():
            source = {"data": _OPENQASM.format(f"{statement}\n{_END}")}
            body = {"type": wire.QASM3, "backend": SIMULATOR, "noise": {"model": "aria-1"}, "input": source}
            try:
                job = self._ended({**body, "shots": 100})
                said = str(wire.mapping(job.get("failure")).get("message") or "")
                is_taken = wire.observation(job).phase is Phase.DONE
                yield Fact(f"qasm3_{word}", "take" if is_taken else "fail", said[:200])
            except Refused as error:
                yield Fact(f"qasm3_{word}", "fail", f"refused: {error.vendor_message}"[:200])
        try:
            job = self._ended({"type": "ionq.circuit.v1", "target": SIMULATOR, "shots": 100, "input": _CIRCUIT})
        except Refused as error:
            yield Fact("target_member", "refuse", str(error.vendor_message)[:200])
        else:
            yield Fact("target_member", str(job.get("backend")), "where a job with `target` and no `backend` runs")

    def _dry(
        self,
        backend: str,
        *,
        shots: int,
        settings: Mapping[str, Any] | None,
        kind: str = "ionq.circuit.v1",
        source: Mapping[str, Any] = _CIRCUIT,
    ) -> Mapping[str, Any]:
        body = {"type": kind, "backend": backend, "shots": shots, "input": dict(source), "dry_run": True}
        return self._ended(body if settings is None else body | {"settings": dict(settings)})

    def _ended(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a free job and watch it to its end. Raises Refused, or NotDry after cancelling what is not free."""
        try:
            job_id = str(self._http.post_once("/jobs", json.dumps({**body, "name": _NAME}).encode())["id"])
        except (Ambiguous, NotSent) as error:
            raise NotDry(f"{error}; if it was accepted, it costs nothing", provider="ionq") from None
        where = path("jobs", job_id)
        job = self._http.get_object(where)
        if body.get("dry_run") and job.get("dry_run") is not True:
            self._http.put(f"{where}/status/cancel")
            raise NotDry(f"job {job_id} was not accepted as a dry run and is being cancelled", provider="ionq")
        seen = {"job": job}

        def is_over() -> bool:
            seen["job"] = self._http.get_object(where)
            return wire.observation(seen["job"]).phase in ENDED

        if until(is_over, patience_s=self._bench.patience_s, every_s=0.1) is None:
            self._http.put(f"{where}/status/cancel")
        return seen["job"]

    def _quote(self, job: Mapping[str, Any]) -> float | None:
        try:
            told = wire.mapping(self._http.get(path("jobs", str(job.get("id")), "cost")))
        except Refused:
            return None
        value = wire.mapping(told.get("estimated_cost")).get("value")
        return float(value) if isinstance(value, int | float) else None

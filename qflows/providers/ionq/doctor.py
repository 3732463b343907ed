"""Checking an IonQ account: the rights of its key, and what it can run on."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

from qflows.errors import ProviderError, Refused
from qflows.protocol import Bench, Fact, Finding, Verdict
from qflows.providers.ionq.http import IonQHttp

ESTIMATE = (("backend", "qpu.forte-1"), ("type", "ionq.circuit.v1"), ("qubits", "1"), ("shots", "1"), ("1q_gates", "1"),
             ("2q_gates", "0"), ("error_mitigation", "false"))  # fmt: skip
_KEY = "check IONQ_API_KEY, or make a new key on the keys page of the IonQ console"


class Doctor:
    """The half of the provider that checks its account."""

    _http: IonQHttp
    _learned: Mapping[str, Any] = MappingProxyType({})

    def addresses(self) -> Mapping[str, str]:
        """Where requests go."""
        return {"IonQ API": f"{self._http.base_url}/backends"}

    def diagnose(self) -> Iterator[Finding]:
        """Read with the key: its identity, the job list, backends, sessions, estimates."""
        yield Finding("client", Verdict.OK, f"httpx {version('httpx')}, Python {platform.python_version()}")
        yield _reading("right: list jobs", lambda: self._http.get("/jobs", [("limit", "1")]), _jobs_note, _KEY)
        yield _reading(
            "right: sessions",
            lambda: self._http.get("/sessions"),
            lambda _: "sessions can be read",
            "jobs run without sessions; ask IonQ to open them for this project",
            otherwise=Verdict.ADVICE,
        )
        yield _reading(
            "right: estimates",
            lambda: self._http.get("/jobs/estimate", ESTIMATE),
            lambda _: "prices can be asked for",
            "the key's role may not ask for prices: estimates stay empty; an admin of the organization can help",
            otherwise=Verdict.ADVICE,
        )
        yield _reading("backends", lambda: self._http.get("/backends"), _backends, "see the message")

    def measure(self, bench: Bench) -> Iterator[Fact]:
        """On the free simulator, and by reading; see `probing`."""
        from qflows.providers.ionq import probing  # builds circuits, and loading Qiskit takes a second

        return probing.measure(self._http, bench)

    def learn(self, facts: Mapping[str, Any]) -> None:
        """Take over how many shots QPUs take and whether they measure early; every form of answer is read anyway."""
        self._learned = dict(facts)


def _reading(
    check: str,
    ask: Callable[[], Any],
    tell: Callable[[Any], str],
    remedy: str,
    otherwise: Verdict = Verdict.WRONG,
) -> Finding:
    try:
        return Finding(check, Verdict.OK, tell(ask()))
    except Refused as error:
        verdict = otherwise if error.http_status in (401, 403, 404) else Verdict.WRONG
        return Finding(check, verdict, str(error), remedy)
    except ProviderError as error:
        return Finding(check, Verdict.WRONG, str(error), "try again; if that does not help, look at status.ionq.co")


def _jobs_note(body: Any) -> str:
    jobs = body.get("jobs") if isinstance(body, dict) else None
    return "the project's jobs can be read" if jobs else "the job list can be read; it is empty"


def _backends(body: Any) -> str:
    entries = body if isinstance(body, list) else (body or {}).get("backends", [])
    words = [f"{one.get('backend')} {one.get('status')}" for one in entries if isinstance(one, dict)]
    return ", ".join(words) or "none"

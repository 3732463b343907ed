"""Checking a qBraid account: the key, its credits and its rights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from qflows.errors import ProviderError
from qflows.protocol import Bench, Fact, Finding, Verdict
from qflows.providers.qbraid.groups import GroupCalls
from qflows.providers.qbraid.http import QbraidHttp
from qflows.providers.qbraid.pacing import Purpose
from qflows.providers.qbraid.watching import Watch

_FREE = "qbraid:qbraid:sim:qir-sv"


class Doctor:
    """The half of the provider that checks its account."""

    _http: QbraidHttp
    _watch: Watch
    _groups: GroupCalls

    def addresses(self) -> Mapping[str, str]:
        """Where requests go."""
        return {"qBraid API": f"{self._http.base_url}/devices"}

    def diagnose(self) -> Iterator[Finding]:
        """Read with the key: its identity, credits, devices, jobs, groups, estimates."""
        yield Finding("client", Verdict.OK, f"httpx {version('httpx')}")
        key = "check QBRAID_API_KEY, and `api-key` in the qbraidrc file, which comes first"
        yield _reading("key", lambda: self._http.get("/users/verify"), lambda _: "accepted", key)
        yield _reading("credits", self._credits, _credits, "add credits; free simulators need none", Verdict.ADVICE)
        jobs = [("limit", "1")]
        yield _reading("right: list jobs", lambda: self._http.get("/jobs", jobs), lambda _: "jobs can be listed", key)
        yield _reading(
            "right: estimates",
            lambda: self._http.get("/jobs/cost-estimate", [("deviceQrn", _FREE), ("shots", "1")]),
            lambda _: "prices can be asked for",
            "prices are then not known before a job is sent",
            Verdict.ADVICE,
        )
        yield _reading(
            "right: groups",
            lambda: self._http.get("/jobs/group", jobs),
            lambda _: "groups can be listed",
            "jobs run without groups",
            Verdict.ADVICE,
        )
        left = self._http.pacing.left
        yield Finding("rate", Verdict.OK, f"{left(Purpose.WORK)} of 1,000 requests left for qflows in these 15 minutes")

    def _credits(self) -> Any:
        user = self._http.get("/users/verify")
        organization = str(user.get("organizationId")) if isinstance(user, dict) else ""
        return self._http.get("/billing/credits/balance", [("organizationId", organization)])

    def measure(self, bench: Bench) -> Iterator[Fact]:
        """On the cheapest device, free simulators first, and by reading; see `probing`."""
        from qflows.providers.qbraid import probing  # builds circuits, and loading Qiskit takes a second

        return probing.measure(self._http, self._groups, bench)

    def learn(self, facts: Mapping[str, Any]) -> None:
        """Stop relying on a tag filter that does not find jobs by the key alone; lists are read instead."""
        self._watch.filter_finds_subsets = facts.get("tag_match", "subset") == "subset"


def _credits(body: Any) -> str:
    left = body.get("qbraidCredits") if isinstance(body, dict) else None
    return f"{left:,.2f} credits" if isinstance(left, int | float) else "no number in the answer"


def _reading(
    check: str, ask: Callable[[], Any], tell: Callable[[Any], str], remedy: str, otherwise: Verdict = Verdict.WRONG
) -> Finding:
    try:
        return Finding(check, Verdict.OK, tell(ask()))
    except ProviderError as error:
        return Finding(check, otherwise, str(error), remedy)

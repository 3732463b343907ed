"""Checking an IBM Quantum account: the key, the instance and its remaining quota, and rights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from qflows.errors import ProviderError
from qflows.programs.features import Feature
from qflows.protocol import Bench, Fact, Finding, Verdict
from qflows.providers.ibm.access import is_loopback
from qflows.providers.ibm.listing import Listing
from qflows.providers.ibm.runtime import Runtime

_HOSTS = {"eu-de": "https://eu-de.quantum.cloud.ibm.com/api/v1", "us-east": "https://quantum.cloud.ibm.com/api/v1"}


class Doctor:
    """The half of the provider that checks its account."""

    _runtime: Runtime
    _last_sent: tuple[str, bytes]
    _listing: Listing
    _lost: frozenset[Feature] = frozenset()

    def addresses(self) -> Mapping[str, str]:
        """The runtime API, and IAM, which issues the tokens."""
        access = self._runtime.access
        region = "eu-de" if "eu-de" in f"{access.instance} {access.region}" else "us-east"
        base = access.base_url or _HOSTS[region]
        iam = access.services.get("IAM_URL") or "https://iam.cloud.ibm.com"
        return {"IBM Quantum": f"{base}/backends"} | ({} if is_loopback(base) else {"IAM": iam})

    def diagnose(self) -> Iterator[Finding]:
        """Get a token, and read instance, usage, devices, jobs and workloads."""
        yield Finding("client", Verdict.OK, f"qiskit-ibm-runtime {version('qiskit-ibm-runtime')}")
        try:
            crn = self._runtime.crn
        except ProviderError as error:
            remedy = "check QISKIT_IBM_TOKEN, QISKIT_IBM_INSTANCE and the instance's region"
            yield Finding("key and instance", Verdict.WRONG, str(error), remedy)
            return
        yield Finding("key and instance", Verdict.OK, f"…{crn.rstrip(':').rpartition(':')[2][-12:]}, {_region(crn)}")
        yield self._reading("usage", self._usage, _usage, "the instance's own page shows what is left", Verdict.ADVICE)
        yield self._reading(
            "right: list jobs",
            lambda: self._runtime.read("the job list", lambda client: client.jobs_get(limit=1)),
            lambda _: "jobs can be listed: a lost answer is found again",
            "the key needs the right to list jobs (quantum-computing.job.read)",
        )
        yield self._reading(
            "right: sessions",
            lambda: self._runtime.read("the workloads", lambda client: client._api.workloads_get(limit=1)),
            lambda _: "sessions and batches can be listed; the Open plan has batches only",
            "jobs run without sessions",
            Verdict.ADVICE,
        )
        skew_s = self._runtime.skew_s
        if abs(skew_s) > 240:
            remedy = "set this machine's clock (NTP)"
            yield Finding("clock of tokens", Verdict.WRONG, f"{skew_s:.0f} s off: tokens seem expired", remedy)

    def _usage(self) -> Any:
        return self._runtime.read("the usage", lambda client: dict(client._session.get("/instances/usage").json()))

    def _reading(
        self, check: str, ask: Callable[[], Any], tell: Callable[[Any], str], remedy: str,
        otherwise: Verdict = Verdict.WRONG,
    ) -> Finding:  # fmt: skip
        try:
            return Finding(check, Verdict.OK, tell(ask()))
        except ProviderError as error:
            return Finding(check, otherwise, str(error), remedy)

    def measure(self, bench: Bench) -> Iterator[Fact]:
        """With the smallest jobs, each capped, and by reading; see `probing`."""
        from qflows.providers.ibm import probing  # builds circuits, and loading Qiskit takes a second

        return probing.measure(self._runtime, lambda: self._last_sent, bench)

    def learn(self, facts: Mapping[str, Any]) -> None:
        """Stop relying on a tag filter that the service ignores, and on barriers and delays that it does not keep."""
        self._lost = frozenset(feature for name, (feature, word) in _LOST.items() if facts.get(name) == word)
        self._listing.filter_works = facts.get("tag_filter", "works") == "works"


_LOST = {"barriers": (Feature.BARRIER, "merged"), "delays": (Feature.DELAY, "dropped")}


def _region(crn: str) -> str:
    parts = crn.split(":")
    return parts[5] if len(parts) > 5 and parts[5] else "region unknown"


def _usage(body: Any) -> str:
    found = body if isinstance(body, dict) else {}
    words = [
        f"{name.replace('usage_', '').replace('_', ' ')} {found[name]}"
        for name in (
            "usage_consumed_seconds",
            "usage_remaining_seconds",
            "usage_limit_seconds",
            "usage_allocation_seconds",
        )
        if found.get(name) is not None
    ]
    if found.get("usage_limit_reached"):
        words.append("THE LIMIT IS REACHED: jobs are refused")
    return ", ".join(words) or "the answer names no limits"

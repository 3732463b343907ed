"""The emulated IonQ: its switches, identity, backends and refusals. Jobs and sessions are in their own files."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from qflows.sandbox.errors import Refusal
from qflows.sandbox.faults import Fault
from qflows.sandbox.ionq import account, catalog, render
from qflows.sandbox.ionq.jobs import Jobs, client_key
from qflows.sandbox.ionq.sessions import Sessions
from qflows.sandbox.jobs import Job, Outcome
from qflows.sandbox.switch import numbers_of
from qflows.sandbox.vendor import Call, Route, Switch, Vendor
from qflows.sandbox.world import World

# Each is a point that no IonQ document settles (or that differs between its documents and its clients).
SWITCHES = (
    Switch(
        "result_profile", "both", "urls for qiskit-ionq, formats as described, both, or formats of version 2 alone",
        ("both", "spec", "legacy", "v2"),
        source="API v0.4 description: formats; qiskit-ionq 1.1.1 reads urls",
    ),
    Switch(
        "partial_failure", "parent_failed", "parent of some failed children: failed, or completed with those missing",
        ("parent_failed", "parent_completed"),
        source="not documented",
    ),
    Switch(
        "page_overflow", "clamp", "limit above 25", ("clamp", "refuse"),
        source="API v0.4: limit 1 to 25; what a larger one does is not told",
    ),
    Switch(
        "no_characterizations", "list", "characterizations of a simulator: [] or null", ("list", "null"),
        source="not documented",
    ),
    Switch(
        "list_order", "newest_first", "order of GET /jobs", ("newest_first", "oldest_first"),
        source="not documented",
    ),
    Switch(
        "list_children", False, "children in the plain list, not only by parent_job_id or ids",
        source="not documented",
    ),
    Switch(
        "unknown_status_filter", "refuse", "status=queued and the like", ("refuse", "empty"),
        source="not documented",
    ),
    Switch(
        "child_metadata", "null", "metadata of a child", ("null", "copy"),
        source="not documented",
    ),
    Switch(
        "cancel_children", True, "canceling a parent cancels its unfinished children; False: parents ignore it",
        source="not documented",
    ),
    Switch(
        "cancel_finished", "canceled", "canceling a completed job: its status turns, or nothing happens",
        ("canceled", "keep"), "cirq-ionq 1.7.0 guards against the turn; the description calls it a no-op",
    ),
    Switch(
        "children_order", "input", "order of child_job_ids", ("input", "reversed"),
        "docs: input order; API v0.4 description: not promised",
    ),
    Switch(
        "cancel_running", "cancel", "canceling a job that runs", ("cancel", "ignore"),
        source="docs, 2026-04: a job that is canceled may have been run, and billed, in part",
    ),
    Switch(
        "session_ended_status", 400, "status code for a job that joins an ended or exhausted session",
        source="not documented",
    ),
    Switch(
        "session_limit", "refuse", "limit of a session reached: refuse the next job, or end it", ("refuse", "end"),
        source="not documented; flux-quantum: the limit of minutes ends a session",
    ),
    Switch(
        "session_end_jobs", "cancel", "open jobs when a session ends", ("cancel", "keep"),
        "flux-quantum, what IonQ has told them: ending a session cancels its queued jobs",
    ),
    Switch(
        "session_capacity", 0, "open sessions at once, 409 above; 0: no limit",
        source="flux-quantum: 409 when capacity is full; the number is not known",
    ),
    Switch(
        "metadata_values", "refuse", "metadata values that are not text", ("refuse", "accept"),
        source="API v0.4 description: text to text",
    ),
    Switch(
        "metadata_limits", "none", "v0.4 gives none; v0.3 pages: 10 keys, 40 characters, 40000", ("none", "v0.3"),
        source="v0.3 pages; the v0.4 description gives none",
    ),
    Switch(
        "strict_input", False, "refuse members the description does not list (qiskit-ionq 1.1.1 sends some)",
        source="unknown members are ignored: live log of a paying account, 2026-07",
    ),
    Switch(
        "z_rotation", "phase", "z with rotation: diag(1, e^ir), rz, or plain z", ("phase", "rz", "ignore"),
        source="not documented",
    ),
    Switch(
        "pauliexp_last_is_first_target", True, "order of the characters of a pauliexp term",
        source="not documented",
    ),
    Switch(
        "v2_bitstring_order", "qubit0_left", "order inside v2 bitstrings", ("qubit0_left", "qubit0_right"),
        'docs.ionq.com, API v0.4, OpenQASM 3: x q[0] on three qubits is "100"',
    ),
    Switch(
        "qasm3_ideal_shots", False, "shots of OpenQASM 3 jobs on the ideal simulator",
        source="qiskit-ionq, 2026-07: the ideal simulator gives no result by register",
    ),
    Switch(
        "debiasing_default", "on", "debiasing where it is left out, abstract circuits of 500 shots or more on QPUs",
        ("on", "off"), "docs, and dry-run quotes of a paying account, 2026-08: 168.20 USD instead of 25.79",
    ),
    Switch(
        "qpu_mid_circuit", False, "QPUs take mid-circuit measurement; without it the job fails, unbilled",
        source="simulator only as of 2026-07; IonQ says that QPUs are being rolled out",
    ),
    Switch(
        "unpinned_service", "flatten", "registers of OpenQASM 3 jobs that do not pin the compiler service to v0.4",
        ("flatten", "named"), "qiskit-ionq, change 260",
    ),
    Switch(
        "leaked_share", 0.05, "surplus shots with leakage_bits of mid-circuit jobs on QPUs, per shot asked for",
        source="qiskit-ionq, 2026-07: its tests name a surplus of about 5 %",
    ),
    Switch(
        "probability_digits", 0, "digits after the point of probabilities; 0: all",
        source="how IonQ rounds is not documented; sums that miss 1 were seen elsewhere",
    ),
    Switch(
        "sparse_completed", False, "completed jobs show null times and empty stats, output and settings",
        source="IonQ's provider contract, 2026-09-09, allows it",
    ),
    Switch(
        "qasm3_barrier", "take", "barrier in an OpenQASM 3 job: taken, or the job fails", ("take", "fail"),
        "not documented: OpenQASM 3 of API v0.4 names gates, measurement and reset; ionq.circuit.v1 has no barrier",
    ),
    Switch(
        "qasm3_delay", "fail", "delay in an OpenQASM 3 job: taken, or the job fails", ("fail", "take"),
        "not documented: API v0.4 has no gate for a delay",
    ),
    Switch(
        "target_member", "simulator", "POST with `target` in place of `backend`: runs on the simulator, or refused",
        ("simulator", "refuse"), "live log of a paying account, 2026-07",
    ),
    Switch(
        "accounts", "per_key", "each key (to its first dot) has its own project, or all keys share one",
        ("per_key", "shared"), "keys belong to projects; a project sees its own jobs",
    ),
    Switch("known_keys", "", "keys that are let in, comma-separated; empty: all", source="rehearsal: a mistyped key"),
    Switch(
        "queue_times", "", "average_queue_time of QPUs in ms, such as qpu.forte-1=3600000,qpu.forte-enterprise-1=0",
        source="the member is required and its value misleads: 20,471,079 ms were shown while 5 min were real",
    ),
    Switch("unavailable", "", "backends that are unavailable, comma-separated", source="status word of /backends"),
    Switch(
        "unavailable_submit", "accept", "a job for an unavailable backend: accepted, or 503", ("accept", "refuse"),
        "not documented",
    ),
    Switch(
        "quota_usd", 0.0, "budget of the project: a job above it fails with QuotaExhaustedError; 0: none",
        source="docs, billing: a job fails if the project's budget lacks",
    ),
    Switch(
        "estimate_shape", "rate_card", "rates in an estimate", ("rate_card", "rate_information"),
        "both shapes were seen",
    ),
    Switch(
        "estimate_status", 200, "401: this key's role may not ask for estimates", (200, 401),
        "live log of a paying account: 401 for the role `user` of some organizations",
    ),
    Switch(
        "qpu_max_shots", catalog.MAX_SHOTS, "most shots on a QPU",
        source="API description: 1,000,000; qiskit-ionq 1.1.1 declares 10,000",
    ),
    Switch(
        "qpu_noise", True, "QPUs err like the noise model of their name; False: exact circuits, still sampled",
        source="the sandbox's own",
    ),
    Switch(
        "qpu_qubits", 36, "width of the QPUs",
        source="API v0.4, backends, 2026-09: 36",
    ),
    Switch(
        "max_active_qubits", 20, "wider circuits fail with NotEnoughQubits (a limit of the sandbox, not of IonQ)",
        source="the sandbox's own: simulation takes memory",
    ),
    Switch(
        "requests_per_s", 0.0, "rate limit over all authorised calls, 429 above; 0: none (IonQ's is unknown)",
        source="429 is documented, its rate is not",
    ),
)  # fmt: skip


class IonQ(Vendor):
    """IonQ Quantum Cloud, REST API v0.4."""

    name = "ionq"
    switches = SWITCHES
    max_body_bytes = 10_000_000
    preload = ("qflows.sandbox.ionq.execute",)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.identity = {
            name: str(uuid.uuid5(uuid.NAMESPACE_URL, f"sandbox:{name}"))
            for name in ("key_id", "project_id", "submitter_id", "organization_id")
        }
        self._sessions = Sessions(self.identity)
        self._jobs = Jobs(self.identity, self._sessions)
        self._bucket: Fault | None = None

    def routes(self) -> Sequence[Route]:
        """All calls of API v0.4 except usage and format schemas."""
        return [
            Route("whoami", "GET", "/v0.4/whoami", self.whoami),
            # qiskit-ionq reads backends without credentials
            Route("backends", "GET", "/v0.4/backends", self.backends, is_open=True),
            Route("backend", "GET", "/v0.4/backends/{backend}", self.backend, is_open=True),
            Route("characterizations", "GET", "/v0.4/backends/{backend}/characterizations", self.characterizations),
            Route("characterization", "GET", "/v0.4/backends/{backend}/characterizations/{cid}", self.characterization),
            *self._jobs.routes(),
            *self._sessions.routes(),
        ]

    def env(self, url: str) -> dict[str, str]:
        """Environment for qiskit-ionq, whose argument is not enough; the base must end in the version."""
        return {"IONQ_API_URL": f"{url}/v0.4", "IONQ_API_KEY": "sandbox"}

    def refuse(self, refusal: Refusal) -> Response:
        """IonQ's error shape."""
        return render.error(refusal)

    def authorise(self, call: Call) -> None:
        """Require `Authorization: apiKey <key>`, and apply the rate limit if one is switched on."""
        account.authorise(call)
        rate = float(call.switch("requests_per_s"))
        if rate <= 0:
            return
        if self._bucket is None or self._bucket.rate_per_s != rate:
            self._bucket = Fault("rate_limit", "ionq.*", rate_per_s=rate, burst=max(1, round(rate)))
        if wait_s := self._bucket.wait_for_token(self.world.clock.now()):
            raise Refusal(429, "too many requests", headers={"Retry-After": str(max(1, round(wait_s + 0.5)))})

    def client_key(self, document: Any) -> str | None:
        """`metadata.qflows_key`."""
        return client_key(document)

    def parent_outcome(self, parent: Job, children: Sequence[Job]) -> Outcome:
        """Outcome of a parent. Partial failure is not documented, hence a switch; if all children failed, it failed."""
        outcomes = [child.outcome for child in children]
        if "failed" in outcomes and ("done" not in outcomes or self._fails_with_a_child()):
            return "failed"
        return "done" if "done" in outcomes else "cancelled"

    def _fails_with_a_child(self) -> bool:
        return self.world.switches["ionq"]["partial_failure"] == "parent_failed"

    # -- handlers ----------------------------------------------------------------------------------------------

    async def whoami(self, call: Call) -> Response:
        """The key's identity."""
        return JSONResponse(
            {"key_id": self.identity["key_id"], "key_name": "sandbox", "project_id": account.project_id(call)}
        )

    def _backend(self, call: Call, name: str) -> dict[str, Any]:
        away = frozenset(str(call.switch("unavailable")).split(","))
        found = catalog.backend(name, call.switch("qpu_qubits"), unavailable=away)
        if found is None:
            raise Refusal(404, f"no backend {name}")
        told = numbers_of(call.switch("queue_times"))
        return found | ({"average_queue_time": int(told[name])} if name in told else {})

    async def backends(self, call: Call) -> Response:
        """All backends."""
        return JSONResponse(
            [self._backend(call, name) for name in (catalog.SIMULATOR, *catalog.QPUS, *catalog.RETIRED)]
        )

    async def backend(self, call: Call) -> Response:
        """One backend."""
        return JSONResponse(self._backend(call, call.params["backend"]))

    async def characterizations(self, call: Call) -> Response:
        """Calibration records; none for a simulator."""
        name = self._backend(call, call.params["backend"])["backend"]
        found = [catalog.characterization(name, call.switch("qpu_qubits"))] if name in catalog.QPUS else []
        shown = None if not found and call.switch("no_characterizations") == "null" else found
        limit = call.query.get("limit", "10")
        if not limit.isdecimal() or not 1 <= int(limit) <= 10:
            raise Refusal(400, "limit must be in 1..10")
        return JSONResponse({"characterizations": shown, "pages": 1})

    async def characterization(self, call: Call) -> Response:
        """One calibration record."""
        name = self._backend(call, call.params["backend"])["backend"]
        if name not in catalog.QPUS or call.params["cid"] != catalog.characterization_id(name):
            raise Refusal(404, "no such characterization")
        return JSONResponse(catalog.characterization(name, call.switch("qpu_qubits")))

"""The emulated IonQ: its switches, identity, backends and how it refuses. Jobs and sessions are in their own files."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from qflows.sandbox.errors import Refusal
from qflows.sandbox.faults import Fault
from qflows.sandbox.ionq import catalog, render
from qflows.sandbox.ionq.jobs import Jobs, client_key
from qflows.sandbox.ionq.sessions import Sessions
from qflows.sandbox.jobs import Job, Outcome
from qflows.sandbox.vendor import Call, Route, Switch, Vendor
from qflows.sandbox.world import World

# Each is a point that no document of IonQ settles (or that differs between its documents and its clients).
SWITCHES = (
    Switch("result_profile", "both", "urls for qiskit-ionq, formats as described, or both", ("both", "spec", "legacy")),
    Switch(
        "partial_failure",
        "parent_failed",
        "parent of some failed children: failed, or completed with those missing",
        ("parent_failed", "parent_completed"),
    ),
    Switch("page_overflow", "clamp", "limit above 25", ("clamp", "refuse")),
    Switch("no_characterizations", "list", "characterizations of a simulator: [] or null", ("list", "null")),
    Switch("list_order", "newest_first", "order of GET /jobs", ("newest_first", "oldest_first")),
    Switch("list_children", False, "children in the plain list, not only by parent_job_id or ids"),
    Switch("unknown_status_filter", "refuse", "status=queued and the like", ("refuse", "empty")),
    Switch("child_metadata", "null", "metadata of a child", ("null", "copy")),
    Switch("cancel_children", True, "cancelling a parent cancels its unfinished children; False: parents ignore it"),
    Switch("cancel_running", "cancel", "cancelling a job that runs", ("cancel", "ignore")),
    Switch("session_ended_status", 400, "status code for a job that joins an ended or exhausted session"),
    Switch("session_limit", "refuse", "limit of a session reached: refuse the next job, or end it", ("refuse", "end")),
    Switch("session_end_jobs", "keep", "open jobs when a session ends", ("keep", "cancel")),
    Switch("metadata_values", "refuse", "metadata values that are not text", ("refuse", "accept")),
    Switch("metadata_limits", "none", "v0.4 gives none; v0.3 pages: 10 keys, 40 characters, 40000", ("none", "v0.3")),
    Switch("strict_input", False, "refuse members the description does not list (qiskit-ionq 1.1.1 sends some)"),
    Switch("z_rotation", "phase", "z with rotation: diag(1, e^ir), rz, or plain z", ("phase", "rz", "ignore")),
    Switch("pauliexp_last_is_first_target", True, "order of the characters of a pauliexp term"),
    Switch("v2_bitstring_order", "qubit0_right", "order inside v2 bitstrings", ("qubit0_right", "qubit0_left")),
    Switch("qasm3_ideal_shots", False, "shots of OpenQASM 3 jobs on the ideal simulator"),
    Switch("qpu_noise", True, "QPUs err like the noise model of their name; False: exact circuits, still sampled"),
    Switch("qpu_qubits", 36, "width of the QPUs"),
    Switch("max_active_qubits", 20, "wider circuits fail with NotEnoughQubits (a limit of the sandbox, not of IonQ)"),
    Switch("requests_per_s", 0.0, "rate limit over all authorised calls, 429 above; 0: none (IonQ's is unknown)"),
)


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
        """All calls of API v0.4 but usage and format schemas."""
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
        """qiskit-ionq needs the variable, its argument is not enough; the base must end in the version."""
        return {"IONQ_API_URL": f"{url}/v0.4", "IONQ_API_KEY": "sandbox"}

    def refuse(self, refusal: Refusal) -> Response:
        """IonQ's error shape."""
        return render.error(refusal)

    def authorise(self, call: Call) -> None:
        """`Authorization: apiKey <anything>`, and the rate limit if one is switched on."""
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        if scheme != "apiKey" or not token.strip():
            raise Refusal(401, "give an API key: Authorization: apiKey <key>")
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
        """Partial failure is not documented: by switch. All children failed: failed in any case."""
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
            {"key_id": self.identity["key_id"], "key_name": "sandbox", "project_id": self.identity["project_id"]}
        )

    def _backend(self, call: Call, name: str) -> dict[str, Any]:
        found = catalog.backend(name, call.switch("qpu_qubits"))
        if found is None:
            raise Refusal(404, f"no backend {name}")
        return found

    async def backends(self, call: Call) -> Response:
        """All backends."""
        return JSONResponse([self._backend(call, name) for name in (catalog.SIMULATOR, *catalog.QPUS)])

    async def backend(self, call: Call) -> Response:
        """One backend."""
        return JSONResponse(self._backend(call, call.params["backend"]))

    async def characterizations(self, call: Call) -> Response:
        """Calibration records; none for a simulator."""
        name = self._backend(call, call.params["backend"])["backend"]
        found = [catalog.characterization(name, call.switch("qpu_qubits"))] if name != catalog.SIMULATOR else []
        shown = None if not found and call.switch("no_characterizations") == "null" else found
        limit = call.query.get("limit", "10")
        if not limit.isdecimal() or not 1 <= int(limit) <= 10:
            raise Refusal(400, "limit must be in 1..10")
        return JSONResponse({"characterizations": shown, "pages": 1})

    async def characterization(self, call: Call) -> Response:
        """One calibration record."""
        name = self._backend(call, call.params["backend"])["backend"]
        if name == catalog.SIMULATOR or call.params["cid"] != catalog.characterization_id(name):
            raise Refusal(404, "no such characterization")
        return JSONResponse(catalog.characterization(name, call.switch("qpu_qubits")))

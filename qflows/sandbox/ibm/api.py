"""The emulated IBM Quantum: switches, backends, usage and refusals. Jobs and sessions have their own files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from starlette.responses import JSONResponse, Response

from qflows.sandbox.errors import Refusal
from qflows.sandbox.ibm import catalog, render
from qflows.sandbox.ibm.identity import Identity, account_of, check_bearer
from qflows.sandbox.ibm.jobs import Jobs, client_key
from qflows.sandbox.ibm.sessions import Sessions
from qflows.sandbox.switch import numbers_of
from qflows.sandbox.vendor import Call, Route, Switch, Vendor
from qflows.sandbox.world import World

# the client uses an address that contains "experimental" unchanged, and drops the port of any other one
BASES = ("/api/v1", "/experimental/api/v1")

# Each is a point that no IBM document settles, or a condition that a test needs.
SWITCHES = (
    Switch(
        "accounts_per_key", False, "every API key is an account of its own, with its own instances and jobs",
        source="rehearsal: two people, two keys, one machine",
    ),
    Switch(
        "known_keys", "", "API keys that IAM knows, comma-separated; empty: all but those that begin with bad",
        source="rehearsal: a mistyped key; IAM answers 400, BXNIM0415E",
    ),
    Switch(
        "bad_qasm_charge_s", 2, "seconds charged for a job whose OpenQASM cannot be parsed (1603)", (2, 0),
        source="both were seen on the Open plan, 2026-06 to 09 (n8n-nodes-ibm-quantum)",
    ),
    Switch(
        "host_region", "any", "region of this host; other regions: 404, 1279", ("any", "us-east", "eu-de"),
        source="seen on the Open plan, 2026-06 to 09 (n8n-nodes-ibm-quantum): 404 with code 1279",
    ),
    Switch(
        "job_list", "instance", "all jobs of the instance, or only those of the key", ("instance", "own"),
        source='OpenAPI 2026: "jobs you have run"; whether jobs of other identities are listed is not known',
    ),
    Switch(
        "cancel_lag_s", 0.0, "seconds until a cancel shows; IBM's own test waits 15",
        source="integration tests of qiskit-ibm-runtime, 2026-08, wait 15 s",
    ),
    Switch(
        "delete_queued", False, "whether a job that has not ended can be deleted; it can in IBM's test of 2026",
        source="integration tests of qiskit-ibm-runtime, 2026-08, delete a queued job; OpenAPI is silent",
    ),
    Switch(
        "results_infinity", False, "a bare Infinity in a result's metadata, as in 1 of 160 seen",
        source="seen on the Open plan, 2026-06 to 09 (n8n-nodes-ibm-quantum)",
    ),
    Switch(
        "session_backend", "named", "whether a session that is not active names its device", ("named", "null"),
        source="OpenAPI 2026: backend_name may be null while a session is open",
    ),
    Switch(
        "session_created_at", False, "whether sessions have the undocumented created_at",
        source="qiskit-ibm-runtime 0.51.0 reads it; OpenAPI 2026 does not have it",
    ),
    Switch(
        "error_body", "errors", "as described, or also with the `error` that the client reads", ("errors", "both"),
        source="OpenAPI: errors[]; qiskit-ibm-runtime 0.51.0 reads error{}; which one is sent is not known",
    ),
    Switch(
        "dedupe_s", 0.0, "a byte-identical submission within so many seconds is answered with the first job",
        source="not documented; the client calls repeated POSTs safe, qiskit-ibm-runtime#1114 shows six jobs",
    ),
    Switch(
        "delays", "kept", "delays in circuits: qubits idle for their time, or they are dropped", ("kept", "dropped"),
        source="IBM docs: ISA circuits run as given; rehearsal: devices behind qBraid drop them, qBraid#1269",
    ),
    Switch(
        "barriers", "kept", "barriers: kept, or gates that cancel are removed across them", ("kept", "merged"),
        source="IBM docs: ISA circuits run as given; rehearsal: qiskit-ibm-runtime#2649, folded gates removed",
    ),
    Switch(
        "tag_limits", True, "8 tags of 86 characters (codes 1204, 1205; the status 400 is assumed)",
        source="IBM's error registry: codes 1204 and 1205; the HTTP status is not told",
    ),
    Switch(
        "submits_per_minute", 0, "POST /jobs a minute, 429 above; documented: 5 per user; 0: no limit",
        source="OpenAPI: 5 a minute; not enforced on Open in August and September 2026 (20 in 20 s)",
    ),
    Switch(
        "rate_limit_retry_after", True, "whether that 429 carries Retry-After",
        source="not documented",
    ),
    Switch(
        "usage_limit_s", 360_000.0, "QPU seconds of an instance, 600 at most on Open; 409 when they are used up",
        source="IBM's plans, 2026: Open 600 s in 28 days; OpenAPI 0.45.3, create_job: 409 above a limit",
    ),
    Switch(
        "token_lifetime_s", 3600, "life of an IAM token, by the clock of `token_clock`",
        source="IBM Cloud IAM: access tokens live an hour",
    ),
    Switch(
        "token_clock", "real", "the clock of tokens; `sandbox` suits a client whose clock is moved with the sandbox's",
        ("real", "sandbox"),
        source="the client keeps tokens by its own clock; IAM's own is real",
    ),
    Switch(
        "session_closed_status", 409, "status for a job that joins a closed session",
        source="not documented; 1217 was seen on jobs that were queued when their session closed",
    ),
    Switch(
        "close_empty", "at_once", "a session closed without jobs: closed, or stays pending", ("at_once", "pending"),
        source="seen 2026: at once, session_closed_early; qiskit-ibm-runtime#2188: pending",
    ),
    Switch(
        "interactive_ttl_s", 60, "idle time after which a session becomes inactive",
        source="IBM docs, sessions, 2026: 60 s",
    ),
    Switch(
        "max_session_ttl_s", 28_800, "longest and default max_ttl: 8 h on paid plans, 600 on Open (docs, 2025)",
        source="IBM docs, sessions: 8 h, other values by instance",
    ),
    Switch(
        "ttl_starts", "first_job", "when the clock of max_ttl starts", ("first_job", "creation"),
        source="IBM docs, sessions: with the first job; nothing is said of sessions without one",
    ),
    Switch(
        "results_204_reads", 0, "reads of a completed job's results that are answered 204",
        source="OpenAPI: 204 while there is no result; for how long after Completed is not told",
    ),
    Switch(
        "tag_filter", "works", "repeated `tags` filter; an ignored filter lists everything", ("works", "ignored"),
        source="seen 2026: repeated tags filter; tags[] is ignored and lists everything",
    ),
    Switch(
        "force_state", "", "a word shown as every job's state, for states nobody documented",
        source="rehearsal: a word that nobody documented",
    ),
    Switch(
        "check_max_shots", False, "max_shots of the configuration is not enforced by the service (docs)",
        source='IBM docs, job limits, 2026: max_shots is "no longer relevant or enforced"',
    ),
    Switch(
        "noise", True, "devices err like their calibration; False: exact circuits, still sampled",
        source="the sandbox's own",
    ),
    Switch(
        "queue_lengths", "", "queue_length of backends instead of the jobs here, such as ibm_fez=12,ibm_kingston=3",
        source="OpenAPI 2026: queue_length; rehearsal: other people's jobs",
    ),
    Switch(
        "offline_backends", "", "names of backends that are offline, comma-separated",
        source="OpenAPI 2026: status of a backend",
    ),
    Switch(
        "backend_status", "online", "status of all backends", ("online", "paused", "offline"),
        source="rehearsal: maintenance; the words are OpenAPI's",
    ),
    Switch(
        "max_active_qubits", 20, "wider circuits fail (a limit of the sandbox)",
        source="the sandbox's own: simulation takes memory",
    ),
)  # fmt: skip


class IBM(Vendor):
    """IBM Quantum, runtime API of 2026-04-15 as qiskit-ibm-runtime 0.51.0 speaks it."""

    name = "ibm"
    switches = SWITCHES
    max_body_bytes = 50_000_000
    preload = ("qflows.sandbox.ibm.execute",)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._identity = Identity()
        self._sessions = Sessions()
        self._jobs = Jobs(self._sessions)

    def routes(self) -> Sequence[Route]:
        """All calls, with the runtime API at both its addresses."""
        runtime = [
            Route("backends", "GET", "/backends", self.backends),
            Route("configuration", "GET", "/backends/{backend}/configuration", self.configuration),
            Route("properties", "GET", "/backends/{backend}/properties", self.properties),
            Route("defaults", "GET", "/backends/{backend}/defaults", self.defaults),
            Route("status", "GET", "/backends/{backend}/status", self.status),
            Route("usage", "GET", "/instances/usage", self.usage),
            *self._jobs.routes(),
            *self._sessions.routes(),
        ]
        return [
            *self._identity.routes(),
            *(replace(route, path=f"{base}{route.path}") for base in BASES for route in runtime),
        ]

    def env(self, url: str) -> dict[str, str]:
        """Enough for `QiskitRuntimeService()` without arguments."""
        return self._identity.env(url) | {
            "QISKIT_IBM_CHANNEL": "ibm_quantum_platform",
            "QISKIT_IBM_TOKEN": "sandbox",
            "QISKIT_IBM_URL": f"{url}{BASES[1]}",
            "QISKIT_IBM_INSTANCE": catalog.INSTANCES[0].crn,
        }

    def refuse(self, refusal: Refusal) -> Response:
        """IBM's error shape."""
        return render.error(refusal, shape=str(self.world.switches["ibm"]["error_body"]))

    def authorise(self, call: Call) -> None:
        """Require a bearer token, and the CRN of an instance."""
        check_bearer(call)
        render.SKEW_S.set(float(call.switch("clock_skew_s")))
        crn = call.headers.get("service-crn", "")
        if not call.headers.get("user-agent"):
            raise Refusal(403, "forbidden")
        if catalog.instance(crn) is None or catalog.account_of(crn) != account_of(call):
            raise Refusal(403, "the account has no such instance", code=catalog.NOT_AUTHORIZED)
        if call.switch("host_region") not in ("any", catalog.region(crn)):
            raise Refusal(404, "the instance is in another region", code=catalog.WRONG_REGION)

    def client_key(self, document: Any) -> str | None:
        """The tag that begins with `qflows:`."""
        return client_key(document)

    # -- handlers ----------------------------------------------------------------------------------------------

    def _backend(self, call: Call) -> str:
        name = call.params["backend"]
        if catalog.model_of(name, catalog.region(call.headers.get("service-crn", ""))) is None:
            raise Refusal(404, f"no backend {name}", code=catalog.BACKEND_NOT_FOUND)
        return name

    def _queued(self, call: Call, name: str) -> int:
        told = numbers_of(call.switch("queue_lengths"))
        if name in told:
            return int(told[name])
        return sum(1 for job in self.world.jobs.all("ibm") if job.facts["backend"] == name and not job.is_terminal)

    async def backends(self, call: Call) -> Response:
        """All backends; mocks only on request."""
        with_mocks = call.query.get("include_mocks", "").lower() == "true"
        names = catalog.names(catalog.region(call.headers.get("service-crn", "")), with_mocks=with_mocks)
        return JSONResponse(
            {
                "devices": [
                    catalog.listing(name, queued=self._queued(call, name), status=_status(call, name)) for name in names
                ]
            }
        )

    async def configuration(self, call: Call) -> Response:
        """A backend's configuration."""
        return JSONResponse(catalog.configuration(self._backend(call)))

    async def properties(self, call: Call) -> Response:
        """A backend's calibration."""
        return JSONResponse(catalog.properties(self._backend(call)))

    async def defaults(self, call: Call) -> Response:
        """Pulse defaults, which no device has any more."""
        self._backend(call)
        return JSONResponse(None)

    async def status(self, call: Call) -> Response:
        """A backend's status."""
        name = self._backend(call)
        status = _status(call, name)
        return JSONResponse(
            {
                "state": status != "offline",
                "status": "active" if status == "online" else "maintenance",
                "message": "available" if status == "online" else status,
                "length_queue": self._queued(call, name),
                "backend_version": catalog.configuration(name)["backend_version"],
            }
        )

    async def usage(self, call: Call) -> Response:
        """The usage of the instance."""
        crn = call.headers.get("service-crn", "")
        found = catalog.instance(crn)
        used, limit = self._jobs.consumed_s(call), self._jobs.usage_limit_s(call)
        return JSONResponse(
            {
                "instance_id": crn,
                "plan_id": found.plan.lower() if found else "",
                "usage_consumed_seconds": used,
                "usage_limit_seconds": limit,
                "usage_limit_reached": used >= limit,
                "usage_period": {"start_time": render.moment(0.0), "end_time": render.moment(self.world.clock.now())},
            }
        )


def _status(call: Call, name: str) -> str:
    return "offline" if name in str(call.switch("offline_backends")).split(",") else str(call.switch("backend_status"))

"""The emulated Braket: its switches, quotas and refusals. Tasks, search, storage and account have their own files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from qflows.sandbox.braket import render
from qflows.sandbox.braket.account import Account, check_key, region_of
from qflows.sandbox.braket.search import search_tasks
from qflows.sandbox.braket.storage import Storage
from qflows.sandbox.braket.tasks import Tasks, client_key
from qflows.sandbox.errors import Refusal
from qflows.sandbox.faults import Fault
from qflows.sandbox.switch import Switch
from qflows.sandbox.vendor import Call, Route, Vendor
from qflows.sandbox.world import World

# Points that no AWS document settles, and choices of the sandbox.
SWITCHES = (
    Switch(
        "token",
        "dedupe",
        "clientToken of CreateQuantumTask",
        ("dedupe", "ignore"),
        source="botocore, CreateQuantumTask: idempotency token; a service that forgets it is a rehearsal",
    ),
    Switch(
        "token_ttl_s",
        0.0,
        "how long a token is remembered; 0: forever",
        source="not documented",
    ),
    Switch(
        "token_mismatch",
        "refuse",
        "same token, other parameters",
        ("refuse", "same_arn", "conflict"),
        source="not documented; CreateQuantumTask declares no ConflictException",
    ),
    Switch(
        "search_values",
        "or",
        "several values of a filter: any, or only the first counts",
        ("or", "first"),
        source="not documented",
    ),
    Switch(
        "search_combine",
        "and",
        "several filters",
        ("and", "or"),
        source="not documented",
    ),
    Switch(
        "search_order",
        "newest_first",
        "order of SearchQuantumTasks",
        ("newest_first", "oldest_first"),
        source="not documented",
    ),
    Switch(
        "search_lag_s",
        0.0,
        "a task is absent from searches for so long",
        source="not documented",
    ),
    Switch(
        "get_lag_s",
        0.0,
        "GetQuantumTask answers 404 for so long",
        source="not documented",
    ),
    Switch(
        "result_lag_s",
        0.0,
        "results.json appears so long after COMPLETED",
        source="not documented; the SDK reads S3 right after COMPLETED",
    ),
    Switch(
        "missing_bucket",
        "validation",
        "results bucket that does not exist: Create refuses, or the task fails",
        ("validation", "access_denied", "fail_task"),
        "a real account answers ValidationException at once",
    ),
    Switch(
        "bucket_region",
        "",
        "region of the bucket that is there from the start; empty: it serves tasks of every region",
        source="the sandbox's own; S3: a bucket lies in one region and is made by CreateBucket there",
    ),
    Switch(
        "foreign_buckets",
        "",
        "names of buckets that belong to another account, comma-separated: HeadBucket 403, Create is refused",
        source="S3 API reference, HeadBucket: 403 without access, and for an ExpectedBucketOwner who is not",
    ),
    Switch(
        "program_sets",
        "Forte Enterprise 1",
        "devices that take program sets though their captured document lists none",
        source="absent in the capture of 2026-05-03; agent toolkit of AWS, 2026-08: all gate QPUs",
    ),
    Switch(
        "program_set_results",
        "tree",
        "result of a program set: a tree of files, or all in one",
        ("tree", "inline"),
        "five of five captured results are trees; the schemas allow both",
    ),
    Switch(
        "known_keys",
        "",
        "access keys that AWS knows, comma-separated; empty: all but those that begin with invalid",
        source="rehearsal: a mistyped or deleted key; UnrecognizedClientException",
    ),
    Switch(
        "secret_keys",
        "sandbox=sandbox",
        "secrets of access keys, KEY=SECRET and commas: their signatures are verified; other keys have any secret",
        source="IAM User Guide, Signature Version 4; which keys there are is the sandbox's own",
    ),
    Switch(
        "signature_age_s",
        300.0,
        "a signature of a key in secret_keys is refused when its date is further off; 0: never",
        source="IAM User Guide, Signature Version 4: five minutes; S3: RequestTimeTooSkewed after fifteen",
    ),
    Switch(
        "accounts",
        "one",
        "accounts behind access keys: one for all, or one for each",
        ("one", "per_key"),
        source="rehearsal: two people with keys of two accounts",
    ),
    Switch(
        "foreign_task",
        "denied",
        "a task of another account: AccessDeniedException, or ResourceNotFoundException",
        ("denied", "not_found"),
        source="not documented",
    ),
    Switch(
        "concurrent_tasks",
        35,
        "unfinished tasks on SV1 or DM1 per account and region; above: ServiceQuotaExceededException; 0: no quota",
        source="docs.aws.amazon.com/braket, state vector simulator: 35 by default",
    ),
    Switch(
        "program_set_shots",
        "refuse",
        "shots not divisible by executables",
        ("refuse", "floor"),
        source="agent toolkit of AWS, 2026-08: shots must divide by the executables",
    ),
    Switch(
        "program_set_partial",
        "completed",
        "status when some executables failed",
        ("completed", "failed"),
        source="not documented; the schemas allow failed executables beside others",
    ),
    Switch(
        "failed_set_has_results",
        True,
        "a FAILED program set has results.json",
        source="not documented",
    ),
    Switch(
        "cancel_terminal",
        "conflict",
        "cancel of a task that ended",
        ("conflict", "ignore"),
        source="SDK's integration tests, 2026-08: it cannot be cancelled; flux-quantum: ConflictException",
    ),
    Switch(
        "cancelling_reads",
        1,
        "reads that show CANCELLING before CANCELLED",
        source="botocore, QuantumTaskStatus; how long the word shows is not told",
    ),
    Switch(
        "created_reads",
        0,
        "reads that show CREATED before QUEUED",
        source="botocore, QuantumTaskStatus; how long the word shows is not told",
    ),
    Switch(
        "unlisted_barrier",
        "refuse",
        "barrier on a device whose supportedOperations do not list it",
        ("refuse", "accept"),
        source="not documented: no captured document of SV1, DM1, IonQ or AQT lists barrier",
    ),
    Switch(
        "unlisted_delay",
        "refuse",
        "delay, which no device lists: refused, or accepted and without effect",
        ("refuse", "accept"),
        source="not documented: no captured supportedOperations list delay",
    ),
    Switch(
        "barriers",
        "kept",
        "barriers on QPUs, outside of verbatim boxes: kept, or gates that cancel are removed across them",
        ("kept", "merged"),
        source="listed in supportedOperations; users' reports of Cepheus and Garnet, 2026-09: removed across them",
    ),
    Switch(
        "probabilities_only",
        "Forte 1,Forte Enterprise 1",
        "names of devices whose results hold measurementProbabilities only",
        source="captured results of Forte 1, 2026-08 (qaoa-portfolio-penalty-benchmark)",
    ),
    Switch(
        "windows",
        "always",
        "execution windows of QPUs: none, office hours, or those of the captured documents; closed: tasks queue",
        ("always", "weekdays", "real"),
        source="captured documents; agent toolkit of AWS, 2026-08: ONLINE outside a window queues",
    ),
    Switch(
        "offline",
        "",
        "names of devices that are OFFLINE",
        source="botocore: deviceStatus OFFLINE, DeviceOfflineException",
    ),
    Switch(
        "retired",
        "",
        "names of devices that are RETIRED, besides Ankaa-3",
        source="botocore: deviceStatus RETIRED, DeviceRetiredException; retired by the SDK's changelog",
    ),
    Switch(
        "fidelities",
        "",
        "two-qubit fidelity of devices, whose documents then have a standardized part, such as Garnet=0.992",
        source="amazon-braket-schemas 1.32.1: the part is optional",
    ),
    Switch(
        "queue_sizes",
        "",
        "queueSize of devices instead of the tasks here, such as Garnet=12,Emerald=3",
        source="botocore: deviceQueueInfo; rehearsal: other people's tasks",
    ),
    Switch(
        "schemas_agent",
        "optional",
        "GetDevice without BraketSchemas in the user agent hides OpenQASM; SDK 1.88.1 on botocore 1.44.5 loses it",
        ("optional", "needed"),
        source="amazon-braket-sdk 1.88.1 names its schemas in the user agent for this",
    ),
    Switch(
        "quotas",
        False,
        "documented request rates per region; 429 above",
        source="Amazon Braket quotas page (stored copy, 2026)",
    ),
    Switch(
        "feedforward",
        "one_source",
        "qubits that listen to several measured qubits, on IQM's devices",
        ("one_source", "any"),
        source="amazon-braket-examples, dynamic circuits, 2025-06: one source; whether also for if: not documented",
    ),
    Switch(
        "qpu_noise",
        True,
        "QPUs err; False: exact circuits, still sampled",
        source="the sandbox's own",
    ),
    Switch(
        "max_active_qubits",
        20,
        "wider circuits fail (a limit of the sandbox, not of Braket)",
        source="the sandbox's own: simulation takes memory",
    ),
)

# (rate per second, burst) per region; Amazon Braket quotas page (stored copy, 2026)
QUOTAS: dict[str, tuple[float, int]] = {
    "submit": (20, 40),
    "search": (5, 50),
    "get": (100, 500),
    "cancel": (2, 20),
    "device": (5, 50),
    "devices": (5, 50),
}


class Braket(Vendor):
    """Amazon Braket, with S3 and STS on the same port."""

    name = "braket"
    switches = SWITCHES
    max_body_bytes = 10_000_000
    preload = ("qflows.sandbox.braket.execute",)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._buckets: dict[tuple[str, str], Fault] = {}

    def routes(self) -> Sequence[Route]:
        """All calls except hybrid jobs; S3 last, because its paths match everything."""
        return [
            *Tasks().routes(),
            Route("search", "POST", "/quantum-tasks", search_tasks),
            *Account().routes(),
            *Storage().routes(),
        ]

    def env(self, url: str) -> dict[str, str]:
        """What boto3 and the Braket SDK read; one endpoint serves Braket, S3 and STS."""
        return {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "sandbox",
            "AWS_SECRET_ACCESS_KEY": "sandbox",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "BRAKET_PRICE_OFFERS_URL": f"{url}/offers/v1.0/aws/AmazonBraket/current/index.csv",
        }

    def refuse(self, refusal: Refusal) -> Response:
        """Braket's error shape."""
        return render.error(refusal)

    def authorise(self, call: Call) -> None:
        """Require a valid signature, and a caller within its quota if quotas are on."""
        check_key(call)
        route = call.route.partition(".")[2]
        if not call.switch("quotas") or route not in QUOTAS:
            return
        rate, burst = QUOTAS[route]
        bucket = self._buckets.setdefault(
            (region_of(call), route), Fault("rate_limit", call.route, rate_per_s=rate, burst=burst)
        )
        if bucket.wait_for_token(self.world.clock.now()):
            raise Refusal(429, "Rate exceeded", code="ThrottlingException")

    def client_key(self, document: Any) -> str | None:
        """The tag `qflows:key`, otherwise the client token."""
        return client_key(document)

"""What qBraid's documents and client do not settle or disagree on, and faults to rehearse."""

from __future__ import annotations

from qflows.sandbox.switch import Switch

_CONNECTOR = "qBraid's own connector, monid-ai/monid, decision record and recordings of 2026-09-22 and 2026-09-28"
_DOCS = "docs.qbraid.com/v2, read 2026-10"
_CLIENT = "qbraid-core 0.6.37"

SWITCHES = (
    # accounts
    Switch(
        "key_format", "any", "well-formed keys: any printable text, or qbr_ and hex digits", ("any", "qbr_hex"),
        "qbraid-core 0.6.37: qBraid keys are qbr_ and hex; what else the service lets pass is not known",
    ),
    Switch("known_keys", "", "keys that exist, comma-separated; empty: any that is well formed", source=_CONNECTOR),
    Switch(
        "accounts", "per_key", "a key sees its own jobs and groups, or everybody's", ("per_key", "shared"),
        "the 4 hex digits of a job's QRN name the context of the account: qBraid's replies, 2026-09",
    ),
    Switch(
        "foreign_job_status", 404, "status code of a job of another account", (404, 403),
        "unknown; 404 is the answer that is easier to take for the end of a job",
    ),
    Switch(
        "job_context", "key", "context in which jobs are created: that of the key, or the personal one of its owner",
        ("key", "personal"),
        "one report, 2026: jobs created with an organization's key belonged to the personal context, 403 afterwards",
    ),
    Switch(
        "requests_per_window", 1_000, "requests in a rolling 15 minutes for each key, 429 above; 0: no limit",
        source=_DOCS,
    ),
    Switch("requests_without_key", 100, "requests in a rolling 15 minutes without a key; 0: no limit", source=_DOCS),
    Switch("closed_devices", "", "devices without direct access, comma-separated", source=_CLIENT),
    # submission
    Switch(
        "submit_body", "full", "201 of POST /jobs: as recorded, or jobQrn and status alone as on the REST page",
        ("full", "lean"), _CONNECTOR,
    ),
    Switch(
        "refused_as_201", False, "POST /jobs takes nothing and answers 201 with success false and empty data",
        source=f"{_CONNECTOR}: createJob answers 201 to every submission",
    ),
    Switch("unknown_device_status", 404, "status code of a job for a device that does not exist", source=_CONNECTOR),
    Switch(
        "offline_submit", "refuse", "job for a device that is not ONLINE", ("refuse", "accept"),
        source="not documented; a device's record has status and nextAvailable",
    ),
    Switch(
        "simulator_barrier", "run", "barrier in a program for a simulator: it runs, or the job fails", ("run", "fail"),
        source="not documented",
    ),
    Switch(
        "simulator_delay", "run", "delay in a program for a simulator: it runs, or the job fails", ("run", "fail"),
        source="not documented; devices behind qBraid drop delays: qBraid#1269",
    ),
    Switch(
        "shots_status", 400, "status code of shots outside the device's own bounds", (400, 422),
        source="not documented",
    ),
    Switch(
        "no_batch_status", 400, "status code of a batch for a device without batchJobSupport",
        source="not documented",
    ),
    Switch(
        "validation_shape", "envelope", "body of a 422: own envelope, or FastAPI's detail", ("envelope", "detail"),
        f"{_CLIENT} reads both",
    ),
    # money
    Switch(
        "insufficient_credits_status", 402, "status code with error code INSUFFICIENT_CREDITS",
        source="the connector knows the code and its members; the HTTP status is not told",
    ),
    Switch(
        "credits", 1_000_000.0, "credits of each account",
        source="the sandbox's own",
    ),
    Switch(
        "estimated_s", 0.1, "device seconds a circuit that an estimate assumes where minutes are billed",
        source="the sandbox's own",
    ),
    Switch(
        "billed_s", 0.05, "device seconds a circuit that are billed where minutes are",
        source="about 10 credits for a small job at 12,000 a minute: users' reports, 2026-09",
    ),
    Switch(
        "result_cost_form", "text", "cost in a result: text, text with exponent, or a number",
        ("text", "exponent", "number"), f"{_CONNECTOR}: '0' and '0E-33'",
    ),
    Switch(
        "final_costs", "given", "cost and timeStamps of FAILED and CANCELLED jobs", ("given", "null"),
        f"{_CONNECTOR}: a terminal status is written together with a cost; {_CLIENT} breaks without one",
    ),
    # reading
    Switch(
        "list_refreshes", False, "lists and groups show the present status, not the one of the last read by id",
        source=f"{_CONNECTOR}: GET /jobs/(qrn) refreshes a job; what lists do is unknown",
    ),
    Switch(
        "moving_created_at", True, "timeStamps.createdAt changes over the life of a job; createdAt does not",
        source=_CONNECTOR,
    ),
    Switch(
        "tag_match", "subset", "tags filter: pairs contained, tags equal, none", ("subset", "exact", "ignored"),
        source="not documented",
    ),
    Switch(
        "list_order", "newest_first", "order of GET /jobs", ("newest_first", "oldest_first"),
        source="not documented",
    ),
    Switch(
        "hold_status_group", "returned", "statusGroup that shows HOLD", ("returned", "pending", "neither"),
        source="not documented",
    ),
    Switch(
        "finished_as", "", "status word shown instead of COMPLETED: HOLD, UNKNOWN, or one nobody documented",
        source="JobStatus of qbraid-core 0.6.37 has HOLD and UNKNOWN; when they show is not told",
    ),
    # results
    Switch("no_result_status", 409, "status code of the result of a job that is not finished", source=_DOCS),
    Switch(
        "broken_result", False, "the result of a COMPLETED job is 409 for good",
        source=f"{_DOCS}: 409 is not yet available, or not valid JSON",
    ),
    Switch(
        "failed_result", "body", "result of a FAILED job: a body with statusMsg, or refused", ("body", "refuse"),
        source="not documented",
    ),
    Switch(
        "batch_of_one", "plain", "result of a batch of one: plain Result, or BatchResult", ("plain", "batch"),
        source="not documented",
    ),
    Switch(
        "mixed_batch", "COMPLETED", "status of a batch of which some circuits failed", ("COMPLETED", "FAILED"),
        source="not documented",
    ),
    Switch(
        "result_data", "counts", "members of resultData", ("counts", "probabilities", "both"),
        source="qbraid-core 0.6.37 reads both",
    ),
    Switch(
        "bit_order", "c0_right", "order inside the keys of measurementCounts", ("c0_right", "c0_left"),
        "bit 0 rightmost on every device since 2026-09-21: NVIDIA/cuda-quantum#5462, qBraid#1327",
    ),
    Switch("compiled_text", True, "a finished job of a QPU has a compiled program; else 404", source=_DOCS),
    # cancelling
    Switch(
        "initializing_s", 0.4, "seconds for which a job is INITIALIZING and cannot be cancelled",
        source=f"{_CONNECTOR}: 409 JOB_CANCEL_CONFLICT",
    ),
    Switch(
        "cancel_shows_cancelling", True, "a cancelled job shows CANCELLING to the first read",
        source="JobStatus of qbraid-core 0.6.37 has CANCELLING; for how long it shows is not told",
    ),
    # groups
    Switch(
        "group_not_open_status", 409, "status code of a job for a group that is not OPEN",
        source="not documented",
    ),
    Switch(
        "ttl_on_submit", True, "a submission sees the end of a group's time to live before anybody read the group",
        source="not documented",
    ),
    Switch(
        "group_some_cancelled", "FAILED", "group with cancelled jobs", ("FAILED", "CANCELLED", "COMPLETED"),
        source="not documented",
    ),
    Switch(
        "group_empty_closed", "CLOSED", "closed group without a job", ("CLOSED", "COMPLETED"),
        source="not documented",
    ),
    Switch(
        "group_open_completes", False, "an OPEN group whose jobs are finished becomes COMPLETED or FAILED",
        source="not documented",
    ),
    Switch(
        "close_twice", "harmless", "closing a CLOSED group: harmless, or 409", ("harmless", "refuse"),
        source="not documented",
    ),
    Switch("group_no_jobs", "list", "jobs of an empty group: [] or null", ("list", "null"), f"{_CLIENT} reads both"),
    # the sandbox itself
    Switch(
        "qpu_noise", True, "QPUs err; False: exact circuits, still sampled",
        source="the sandbox's own",
    ),
    Switch(
        "max_active_qubits", 20, "wider circuits fail (a limit of the sandbox, not of qBraid)",
        source="the sandbox's own: simulation takes memory",
    ),
)  # fmt: skip

"""Names that survive a crash: pure functions from what is wanted to the key that marks it at the vendor.

run key  names the logical run; given by the user, or derived from the scheduled slot or the flow run.
content  what is executed: label, programs, observables, device, shots, options; no names, no tags, no account.
sample   run key + content + ordinal: one wanted execution.
job key  sample + epoch: one purchase. 64 hex characters, which is the longest Amazon Braket `clientToken`
         (botocore model braket/2019-09-01, CreateQuantumTask) and fits a 86-character IBM tag with a prefix.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

MAX_RUN_KEY = 512


def digest(*parts: Any) -> str:
    """sha256 over the JSON of `parts`, in hex. Dicts are sorted; floats are written by repr, which is exact."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def content_digest(
    *,
    label: str,
    provider: str,
    device_id: str,
    programs: Sequence[str],
    observables: Sequence[str],
    shots: int | None,
    options: Mapping[str, Any],
) -> str:
    """Identity of the work itself. The account is left out: a rotated API key must not buy again."""
    return digest("content/1", label, provider, device_id, list(programs), list(observables), shots, dict(options))


def sample_key(run_key: str, content: str, ordinal: int) -> str:
    """Identity of one wanted execution of `content` in a run."""
    return digest("sample/1", run_key, content, ordinal)


def job_key(sample: str, epoch: int) -> str:
    """Identity of one purchase, and the mark it bears at the vendor."""
    return digest("job/1", sample, epoch)


def in_namespace(run_key: str, namespace: str | None) -> str:
    """The run key of a namespace, `namespace/run_key`; one that is in it already stays as it is."""
    return run_key if not namespace or run_key.startswith(f"{namespace}/") else f"{namespace}/{run_key}"


def slot_run_key(deployment_id: str, slot_utc_iso: str) -> str:
    """Run key of an auto-scheduled run: twin runs of one slot get the same one."""
    return f"{deployment_id}@{slot_utc_iso}"


def subflow_run_key(parent: str, flow_name: str, order: str) -> str:
    """Run key of a subflow, the same again when its parent is retried."""
    return f"{parent}/{flow_name}#{order}"


def seed_of(key: str) -> int:
    """A 63-bit seed for samplers, so that a job that runs again locally draws the same shots."""
    return int(key[:16], 16) & (2**63 - 1)

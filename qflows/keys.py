"""Names that survive a crash: pure functions from what is wanted to the key that marks it at the vendor.

run key  names the logical run; given by the user, or derived from the scheduled slot or the flow run.
content  what is executed: label, programs, observables, device, shots, options; no names, no tags, no account.
sample   run key + content + ordinal: one wanted execution.
job key  sample + epoch, then the mark of the ledger that buys: one purchase of one ledger. 55 hex digits, a hyphen, and
         the 8 hex digits of the mark: 64 characters, which is the longest Amazon Braket `clientToken` (botocore model
         braket/2019-09-01, CreateQuantumTask) and fits an 86-character IBM tag with a prefix. Two people who share an
         account may use the same run key for the same circuit; the mark keeps their purchases apart. Keys of ledgers
         that are older than marks are 64 hex digits.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

MAX_RUN_KEY = 512
_NAME_LENGTH = 55  # hex digits of a job key that say what is bought: 220 bits
_KEY = re.compile(r"[0-9a-f]{64}|[0-9a-f]{55}-[0-9a-f]{8}", re.ASCII)
_MARK = re.compile(r"[0-9a-f]{8}", re.ASCII)


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


def job_key(sample: str, epoch: int, mark: str = "") -> str:
    """Identity of one purchase by the ledger of this mark, and what the job is found by at the vendor."""
    name = digest("job/1", sample, epoch)
    return f"{name[:_NAME_LENGTH]}-{mark}" if mark else name


def new_mark() -> str:
    """A mark for a new ledger: 8 random hex digits."""
    return secrets.token_hex(4)


def is_mark(text: str) -> bool:
    """Whether this could be the mark of a ledger."""
    return _MARK.fullmatch(text) is not None


def is_job_key(text: str) -> bool:
    """Whether this could be a job key, of any ledger."""
    return _KEY.fullmatch(text) is not None


def mark_of(key: str) -> str:
    """The mark of the ledger that made a job key; empty for a key that is older than marks."""
    return key[_NAME_LENGTH + 1 :] if key[_NAME_LENGTH : _NAME_LENGTH + 1] == "-" else ""


def name_of(key: str) -> str:
    """The part of a job key that is the same in every ledger: run, work, ordinal and epoch."""
    return key[:_NAME_LENGTH]


def in_namespace(run_key: str, namespace: str | None) -> str:
    """The run key of a namespace, `namespace/run_key`; one that is in it already stays as it is."""
    return run_key if not namespace or run_key.startswith(f"{namespace}/") else f"{namespace}/{run_key}"


def slot_run_key(deployment_id: str, slot_utc_iso: str) -> str:
    """Run key of an auto-scheduled run: twin runs of one slot get the same one."""
    return f"{deployment_id}@{slot_utc_iso}"


def subflow_run_key(parent: str, flow_name: str, order: str) -> str:
    """Run key of a subflow, the same again when its parent is retried."""
    return f"{parent}/{flow_name}#{order}"


def seed_of(key: str, index: int | None = None) -> int:
    """A 63-bit seed for samplers, so that a job that runs again locally draws the same shots.

    `index`: of the program, in a job of several. The mark of the ledger is no part of it: the same run draws the same
    shots in every ledger.
    """
    if index is not None:
        return seed_of(digest("seed/1", name_of(key) if mark_of(key) else key, index))
    return int(key[:16], 16) & (2**63 - 1)

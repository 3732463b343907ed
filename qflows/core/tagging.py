"""Changing name and tags of a job after it was bought: always in the ledger, at the vendor if it allows changes.

The ledger holds the wanted labels and the vendor a copy: the copy is made from the ledger, read back, and made again if
the ledger changed meanwhile. A process that dies in between leaves an old copy, which the next call repairs. Our own
key is in every copy, so a job can be found by it at any time.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import cast

from qflows.core.arguments import shown
from qflows.errors import ProgramRejected, ProviderError
from qflows.ledger import labels, reads
from qflows.ledger.store import Ledger
from qflows.model import Job
from qflows.protocol import Provider, TagProvider

log = logging.getLogger("qflows.tagging")

_ROUNDS = 8  # copies made in a row because the ledger changed meanwhile
_MAX_NAME, _MAX_TAGS, _MAX_TAG, _MAX_VALUE = 255, 50, 128, 256


@dataclass(frozen=True, slots=True)
class Tagged:
    """What ledger and vendor hold after a change of name or tags.

    `job` has the ledger's name and tags. `vendor_tags`: what the vendor lists for the job, read back after the change,
    as `name=value` or as the vendor writes it; None if it was not changed there, and `note` says why.
    """

    job: Job
    vendor_tags: tuple[str, ...] | None
    note: str = ""


def check(
    provider: Provider, job: Job, *, name: str | None, tags: Mapping[str, str], remove: Collection[str], at_vendor: bool
) -> None:
    """Raise ProgramRejected for labels that the ledger, or with `at_vendor` the vendor, cannot hold. No I/O."""
    if name is None and not tags and not remove:
        raise ProgramRejected("nothing to change; give tags, a name, or tags to remove")
    if name is not None and (len(name) > _MAX_NAME or not name.isprintable()):
        raise ProgramRejected(f"a name is one line of at most {_MAX_NAME} characters")
    for tag, value in tags.items():
        if not isinstance(tag, str) or not isinstance(value, str):
            raise ProgramRejected("tags map text to text, such as {'study': 'a'}")
        if not 0 < len(tag) <= _MAX_TAG or len(value) > _MAX_VALUE or not (tag + value).isprintable():
            raise ProgramRejected(
                f"tag {tag[:40]!r}: use one line, a name of 1 to {_MAX_TAG} characters and a "
                f"value of up to {_MAX_VALUE}"
            )
        if "=" in tag or tag == "name" or tag.lower().startswith("qflows"):
            raise ProgramRejected(
                f"tag {tag[:40]!r}: a tag name cannot contain '=', be 'name' (pass name=), or begin with qflows"
            )
    both = sorted(set(tags) & set(remove))
    if both:
        raise ProgramRejected(f"tag {both[0]!r} is both set and removed")
    wanted = {tag: value for tag, value in job.tags.items() if tag not in remove} | dict(tags)
    if len(wanted) > _MAX_TAGS:
        raise ProgramRejected(f"{len(wanted)} tags; a job has at most {_MAX_TAGS}")
    if at_vendor and provider.capabilities.retags:
        cast(TagProvider, provider).check_tags(name=job.name if name is None else name, tags=wanted)


def change(
    ledger: Ledger,
    provider: Provider,
    key: str,
    *,
    name: str | None = None,
    tags: Mapping[str, str] | None = None,
    remove: Collection[str] = (),
    at_vendor: bool = True,
) -> Tagged:
    """Change labels in the ledger, then at the vendor. Safe to repeat, and from several processes at once.

    Raises ProgramRejected before anything is written or sent; a ProviderError if the vendor could not be updated: the
    ledger then has the change, and the same call again updates the vendor.
    """
    if tags is not None and not isinstance(tags, Mapping):
        raise ProgramRejected(f"tags map text to text, such as {{'study': 'a'}}, not {shown(tags)}")
    given = dict(tags or {})
    check(provider, reads.job(ledger, key), name=name, tags=given, remove=remove, at_vendor=at_vendor)
    labels.change(ledger, key, name=name, tags=given, remove=remove)
    if not at_vendor:
        return Tagged(reads.job(ledger, key), None, "changed in the ledger only, as requested")
    return copy_to_vendor(ledger, provider, key)


def copy_to_vendor(ledger: Ledger, provider: Provider, key: str) -> Tagged:
    """Make the vendor's labels those of the ledger, and read them back. Raises ProviderError."""
    job = reads.job(ledger, key)
    if job.is_imported:
        return Tagged(job, None, f"imported: its labels at {provider.name} are unchanged; the ledger has the new ones")
    if not provider.capabilities.retags:
        return Tagged(
            job, None, f"{provider.name} keeps name and tags as they were submitted; the ledger has the new ones"
        )
    vendor_id = job.vendor_id
    if vendor_id is None:
        # a submission under way may still carry the old ones
        return Tagged(job, None, f"not at {provider.name} yet ({job.status.value}); repeat this once the job is there")
    for _ in range(_ROUNDS):
        ours = labels.ever_used(ledger, key)
        held = cast(TagProvider, provider).retag(vendor_id, key, name=job.name, tags=job.tags, ours=ours)
        now = reads.job(ledger, key)
        if (now.name, dict(now.tags)) == (job.name, dict(job.tags)):
            return Tagged(now, tuple(held))
        job = now
    return Tagged(job, None, f"other processes keep changing the tags of this job; {provider.name} may have older ones")


def copy_or_note(ledger: Ledger, provider: Provider, key: str) -> Tagged:
    """`copy_to_vendor` for one of many: a vendor's failure becomes the note, so that the others are still updated."""
    try:
        return copy_to_vendor(ledger, provider, key)
    except ProviderError as error:
        log.warning("tags of job %s could not be changed at %s: %s", key[:12], provider.name, error)
        return Tagged(
            reads.job(ledger, key), None, f"{provider.name} did not get the change: {error}; the ledger has it"
        )

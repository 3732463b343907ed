"""Tags of a job after its submission. IBM replaces the whole list at once, so every list we send contains the key."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from qflows.errors import ProgramRejected, Refused, Unreadable
from qflows.providers.ibm import wire
from qflows.providers.ibm.runtime import Runtime


class Tags:
    """The half of the provider that changes labels."""

    _runtime: Runtime

    def check_tags(self, *, name: str, tags: Mapping[str, str]) -> None:
        """Raise ProgramRejected beyond 8 tags, of which two are ours and one is the name, or 86 characters each."""
        wanted = wire.label_tags(name, tags)
        long = next((text for text in wanted if len(text) > wire.MAX_TAG), None)
        if long is not None:
            raise ProgramRejected(
                f"tag {long[:40]!r} has {len(long)} characters; IBM takes {wire.MAX_TAG}. Shorten it, or change the "
                "ledger alone"
            )
        free = wire.MAX_TAGS - 2
        if len(wanted) > free:
            raise ProgramRejected(
                f"{len(wanted)} tags with the name; IBM takes {wire.MAX_TAGS}, two of which carry qflows' key. Remove "
                f"{len(wanted) - free}, or change the ledger alone"
            )

    def retag(
        self, vendor_id: str, key: str, *, name: str, tags: Mapping[str, str], ours: Collection[str]
    ) -> Sequence[str]:
        """GET the job, PUT all its tags, GET it again. Tags that others put there stay, after ours.

        Raises ProgramRejected as `check_tags`, Refused if other people's tags leave no room; nothing is sent then.
        """
        self.check_tags(name=name, tags=tags)
        wanted = [wire.MARK, wire.key_tag(key), *wire.label_tags(name, tags)]
        held = self._tags_of(vendor_id)
        foreign = [tag for tag in held if tag not in wanted and not wire.is_label(tag, ours)]
        if len(wanted) + len(foreign) > wire.MAX_TAGS:
            raise Refused(
                f"job {vendor_id} has {len(foreign)} tags set by others and IBM takes {wire.MAX_TAGS} in all; nothing "
                f"was sent. Remove {len(wanted) + len(foreign) - wire.MAX_TAGS} of yours or theirs",
                provider="ibm",
            )
        body = wanted + foreign
        if set(body) == set(held):
            return held
        self._runtime.read(f"the tags of {vendor_id}", lambda client: client.update_tags(vendor_id, body))
        return self._tags_of(vendor_id)

    def _tags_of(self, vendor_id: str) -> list[str]:
        job = self._runtime.read(f"job {vendor_id}", lambda client: client.job_get(vendor_id))
        tags = job.get("tags") if isinstance(job, dict) else None
        if not isinstance(tags, list | None) or not all(isinstance(tag, str) for tag in tags or ()):
            raise Unreadable(
                f"ibm: the tags of job {vendor_id} are not a list of strings", provider="ibm", body=str(job)
            )
        return list(tags or ())

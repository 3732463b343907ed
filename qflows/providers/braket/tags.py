"""Tags of a task after its creation. AWS changes them one by one, so the tag with our key is never touched."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from qflows.errors import ProgramRejected, Refused
from qflows.providers.braket import wire
from qflows.providers.braket.aws import Aws


class Tags:
    """The half of the provider that changes labels."""

    _aws: Aws

    def check_tags(self, *, name: str, tags: Mapping[str, str]) -> None:
        """Raise ProgramRejected for labels that AWS would cut or has reserved. No I/O.

        Characters that AWS does not take become `_`, in tags as in the name.
        """
        if len(tags) > wire.MAX_TAGS:
            raise ProgramRejected(
                f"{len(tags)} tags; AWS takes 50, two of which qflows needs. Remove {len(tags) - wire.MAX_TAGS}"
            )
        reserved = sorted(tag for tag in tags if tag.lower().startswith("aws:") or tag in (wire.KEY, wire.NAME))
        if reserved:
            raise ProgramRejected(f"tag {reserved[0]!r} is taken: choose another name")
        for tag, value in {**tags, "the name": name}.items():
            if len(tag) > wire.LONGEST_NAME or len(str(value)) > wire.LONGEST_VALUE:
                raise ProgramRejected(
                    f"tag {tag[:40]!r}: AWS takes names of {wire.LONGEST_NAME} and values of {wire.LONGEST_VALUE} "
                    "characters; shorten it"
                )
        if len({wire.tag_name(tag) for tag in tags}) < len(tags):
            raise ProgramRejected(
                "two tags become the same at AWS, which allows only letters, digits, space and + - = . _ : / @"
            )

    def retag(
        self, vendor_id: str, key: str, *, name: str, tags: Mapping[str, str], ours: Collection[str]
    ) -> Sequence[str]:
        """TagResource for what is new, UntagResource for what was removed, ListTagsForResource before and after."""
        if not wire.is_task(vendor_id):
            raise Refused(f"{vendor_id!r} is not the ARN of a quantum task", provider="braket")
        wanted = wire.label_tags(name, tags, key)
        held = self._tags_of(vendor_id)
        managed = {wire.tag_name(tag) for tag in ours} | {wire.NAME}
        new = {tag: value for tag, value in wanted.items() if held.get(tag) != value}
        gone = [tag for tag in held if tag in managed and tag not in wanted]
        if not new and not gone:
            return _texts(held)
        region = str(wire.region_of(vendor_id))
        if gone:
            self._aws.call("braket", region, "UntagResource", resourceArn=vendor_id, tagKeys=gone)
        if new:
            self._aws.call("braket", region, "TagResource", resourceArn=vendor_id, tags=new)
        return _texts(self._tags_of(vendor_id))

    def _tags_of(self, arn: str) -> dict[str, str]:
        answer = self._aws.call("braket", str(wire.region_of(arn)), "ListTagsForResource", resourceArn=arn)
        return {str(tag): str(value) for tag, value in (answer.get("tags") or {}).items()}


def _texts(tags: Mapping[str, str]) -> list[str]:
    return [f"{tag}={value}" for tag, value in tags.items()]

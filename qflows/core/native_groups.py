"""A vendor's own group that mirrors ours, if the vendor has groups.

Ours remains authoritative: it may hold jobs of other vendors, and the vendor's may end first. Jobs of the mirrored
account are enrolled in both.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Protocol, TypeGuard

from qflows.errors import Ambiguous, ProgramRejected, QflowsError, Unreadable
from qflows.keys import digest
from qflows.ledger import groups as ledger_groups
from qflows.ledger.groups import GroupRecord
from qflows.ledger.store import Ledger
from qflows.protocol import Found, JobSpec, Provider
from qflows.states import GroupState

log = logging.getLogger("qflows.groups")

_SLACK = timedelta(minutes=5)  # clocks differ


class GroupProvider(Provider, Protocol):
    """A provider whose `capabilities.native_groups` is true."""

    def create_group(self, key: str, *, name: str, tags: Mapping[str, str], max_ttl_s: float | None) -> Any:
        """Create one group that carries `key`, once; the answer has `group_id`. Raises like `submit`."""
        ...

    def find_groups(self, keys: Collection[str], *, since: datetime) -> Mapping[str, Sequence[Found]]:
        """Groups that carry one of `keys`, oldest first."""
        ...

    def group(self, group_id: str) -> Any:
        """Read a group; the answer has `is_open`. Raises Refused for an unknown one."""
        ...

    def close_group(self, group_id: str) -> None:
        """Take no more jobs; those enrolled run on. No error if the group is already over."""
        ...

    def cancel_group(self, group_id: str) -> None:
        """Take no more jobs and cancel unfinished ones. No error if the group is already over."""
        ...


def has_groups(provider: Provider) -> TypeGuard[GroupProvider]:
    """True if the vendor keeps groups itself."""
    return provider.capabilities.native_groups


def open_native(ledger: Ledger, provider: Provider, record: GroupRecord, *, device: str) -> GroupRecord:
    """The vendor's group for ours: that of an earlier attempt while it is open, otherwise one that carries our key.

    The key is looked up before a group is created, so that a lost answer leaves one group. Raises ProgramRejected if
    the vendor has no groups, ProviderError if it could not be settled now; call again to continue.
    """
    if not has_groups(provider):
        raise ProgramRejected(f"{provider.name} has no native groups; leave native= out, the group works without it")
    if record.native_id is not None and provider.group(record.native_id).is_open:
        return record
    # A group that ended is part of the name of its successor, so that a replay finds each again. The time is of this
    # ledger alone: a colleague's ledger may have a group of the same run key and name in the same account.
    key = digest("native-group/2", record.id, record.created_at.isoformat(), record.native_id or "")
    native_id = _find(provider, key, record) or _create(provider, key, record)
    ledger_groups.set_native(
        ledger, record.id, provider=provider.name, account=provider.account, device=device, native_id=native_id
    )
    return ledger_groups.find(ledger, record.id)


def _find(provider: GroupProvider, key: str, record: GroupRecord) -> str | None:
    found = provider.find_groups([key], since=record.created_at - _SLACK).get(key, ())
    for extra in found[1:]:
        provider.close_group(extra.vendor_id)
        log.warning("extra group %s at %s was closed", extra.vendor_id, provider.name)
    return found[0].vendor_id if found else None


def _create(provider: GroupProvider, key: str, record: GroupRecord) -> str:
    try:
        made = provider.create_group(key, name=record.name, tags=record.tags, max_ttl_s=record.max_ttl_s)
    except (Ambiguous, Unreadable):
        found = _find(provider, key, record)
        if found is None:
            raise
        return found
    return made.group_id


_opening = Lock()
_without: set[str] = set()  # groups of this process whose vendor could not be asked


def _opened_by_itself(ledger: Ledger, provider: GroupProvider, record: GroupRecord, device: str) -> GroupRecord:
    place = provider.name, provider.account
    if any((job.provider, job.account) != place for job in ledger_groups.members(ledger, record.id)):
        return record
    with _opening:
        found = ledger_groups.get(ledger, record.id)
        if found.native_id is not None or found.state is not GroupState.OPEN:
            return found
        try:
            return open_native(ledger, provider, found, device=device)
        except QflowsError as error:
            _without.add(record.id)
            log.warning("group %s has no mirror at %s: %s", record.id[:12], provider.name, error)
            return found


def end_native(provider: Provider, record: GroupRecord, verb: str) -> None:
    """Close or cancel the vendor's group. A failure is only logged: the group ends by its own time to live."""
    if record.native_id is None or not has_groups(provider):
        return
    try:
        (provider.cancel_group if verb == "cancel" else provider.close_group)(record.native_id)
    except QflowsError as error:
        log.warning("group %s at %s: %s failed: %s", record.native_id, provider.name, verb, error)


def into_native(
    ledger: Ledger, group_id: str, provider: Provider, specs: Sequence[JobSpec], *, device: str, by_itself: bool
) -> list[JobSpec]:
    """The specs, to be enrolled at the vendor too if its account mirrors the group; others unchanged.

    `by_itself`: a group whose members are all of this account gets a mirror with its first purchase there. If the
    vendor could not be asked for one, the jobs are sent without it: it holds nothing that ours does not.
    """
    if not has_groups(provider):
        return list(specs)
    record = ledger_groups.find(ledger, group_id)
    if record.native_id is None and by_itself and group_id not in _without:
        record = _opened_by_itself(ledger, provider, record, device)
    if record.native_id is None or (record.native_provider, record.native_account) != (provider.name, provider.account):
        return list(specs)
    return [spec if spec.session_id else replace(spec, session_id=record.native_id) for spec in specs]

"""The one object that knows devices, vendors, credentials and accounts, and which credentials may act on what.

A ledger record (job, session, group) names its vendor, its account and the device profile it was bought under.
`Vendors.of(...)` returns a provider of exactly that account, or says that there is none here. Nothing else in the core
connects to a vendor.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol
from urllib.parse import quote

from qflows import providers
from qflows.core import profiles
from qflows.core.profiles import DeviceProfile
from qflows.errors import (
    Ambiguous,
    CredentialsMissing,
    LedgerError,
    NotSent,
    OtherAccount,
    UnknownDevice,
    Unreadable,
)
from qflows.ledger import accounts, facts, reads
from qflows.ledger.pending import Polled
from qflows.ledger.store import Ledger
from qflows.model import Job, SessionRecord
from qflows.protocol import Limits, MeasuredProvider, Provider

log = logging.getLogger("qflows.devices")

_LIMITS_AGE_S = 600.0  # devices change during the day: couplers, shots, program sets
_LIMITS_RETRY_S = 30.0
_ASK_AGAIN_S = 300.0  # the pause before an account that proved nothing is asked again


@dataclass(frozen=True, slots=True)
class Device:
    """A profile with the provider for it."""

    profile: DeviceProfile
    provider: Provider
    _ask: Callable[[], Limits] = field(repr=False, compare=False)

    @property
    def limits(self) -> Limits:
        """What the device takes: the vendor's limits, narrowed by the profile. Refreshed by age.

        Raises Refused for a device that the vendor does not have.
        """
        return self._ask()


@dataclass
class _Told:
    """A vendor's limits of one device, and when to ask again, in monotonic seconds."""

    limits: Limits | None = None
    again_at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Saved(Protocol):
    """A store of device profiles and credentials by name, such as Prefect's blocks."""

    def profile(self, name: str) -> DeviceProfile | None:
        """The profile saved under this name; None if there is none."""
        ...

    def rule(self, name: str) -> str | None:
        """The text of the rule saved under this name; None if there is none."""
        ...

    def credentials(self, block: str) -> Mapping[str, Any]:
        """Fields of saved credentials, secrets as SecretStr. Raises CredentialsMissing."""
        ...


class NothingSaved:
    """An empty store: only shipped profiles, and credentials from the environment."""

    def profile(self, name: str) -> DeviceProfile | None:
        """Always None."""
        return None

    def rule(self, name: str) -> str | None:
        """Always None."""
        return None

    def credentials(self, block: str) -> Mapping[str, Any]:
        """Raise CredentialsMissing."""
        raise CredentialsMissing(
            f"credentials block {block!r} is saved in Prefect, and no Prefect API is configured here; set "
            "PREFECT_API_URL, or use a device whose credentials come from the environment"
        )


class SpeaksFor(Protocol):
    """A source of providers that may act on a job."""

    def of(self, job: Polled) -> Provider:
        """A provider of the job's own account. Raises OtherAccount."""
        ...


@dataclass(frozen=True, slots=True)
class Sole:
    """A single provider, for callers without named devices; it acts only on jobs of its own account."""

    provider: Provider

    def of(self, job: Polled) -> Provider:
        """The provider. Raises OtherAccount for a job of another vendor or account."""
        if (job.provider, job.account) != (self.provider.name, self.provider.account):
            raise OtherAccount(
                f"job {job.key[:12]} belongs to {job.provider} account {job.account}, not to "
                f"{self.provider.name} account {self.provider.account}; nothing was done to it",
                provider=job.provider,
                account=job.account,
            )
        return self.provider


@dataclass
class Vendors:
    """Devices and providers of one process, each connected once. Thread-safe."""

    ledger: Callable[[], Ledger]
    saved: Saved = field(default_factory=NothingSaved)
    timeout_s: float = 30.0
    _devices: dict[str, Device] = field(default_factory=dict, repr=False)
    _providers: dict[tuple[str, str | None], Provider] = field(default_factory=dict, repr=False)
    _told: dict[tuple[str, str, str], _Told] = field(default_factory=dict, repr=False)
    _taught: set[tuple[str, str]] = field(default_factory=set, repr=False)
    _unproved: dict[tuple[str, str, str, str], float] = field(default_factory=dict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def profile(self, name: str) -> DeviceProfile | None:
        """The profile that a device name refers to: a saved one, else a shipped one, else `vendor:device-id`."""
        return self.saved.profile(name) or profiles.find(name)

    def rule(self, name: str) -> str | None:
        """The rule that a name refers to: a shipped one, else a saved one if no device has this name."""
        if name in profiles.shipped_rules():
            return profiles.shipped_rules()[name].rule
        if profiles.find(name) is not None or self.saved.profile(name) is not None:
            return None
        return self.saved.rule(name)

    def device(self, name: str) -> Device:
        """The device with this name. Raises UnknownDevice, CredentialsMissing."""
        if not isinstance(name, str):
            raise UnknownDevice(f"device must be a device name, not {name!r}; `qflows devices` lists them")
        with self._lock:
            profile = self.profile(name)
            if profile is None:
                raise profiles.unknown(name)
            profiles.check_living(profile)
            known = self._devices.get(name)
            if known is None or known.profile != profile:
                provider = self.provider(profile.provider, profile.credentials)
                known = self._devices[name] = Device(profile, provider, partial(self._limits, profile, provider))
            return known

    def _limits(self, profile: DeviceProfile, provider: Provider) -> Limits:
        """The limits of a device; raises as `Provider.limits`. If the vendor is unreachable, what is known of a named
        device."""
        is_bare = profiles.is_bare(profile)
        with self._lock:
            told = self._told.setdefault((provider.name, provider.account, profile.device), _Told())
        with told.lock:  # many threads start with the same device
            if time.monotonic() >= told.again_at:
                try:
                    told.limits = provider.limits(profile.device)
                    told.again_at = time.monotonic() + _LIMITS_AGE_S
                except (NotSent, Ambiguous, Unreadable) as error:
                    if is_bare and told.limits is None:
                        raise
                    log.warning(
                        "using the limits of %s from its profile, because the vendor's could not be read: %s",
                        profile.name,
                        error,
                    )
                    told.again_at = time.monotonic() + _LIMITS_RETRY_S
        if told.limits is None:
            return profile.limits()
        return told.limits if is_bare else profile.narrowed(told.limits)

    def provider(self, vendor: str, credentials_block: str | None = None) -> Provider:
        """The provider of a vendor, with the fields of a saved credentials block or the vendor's environment."""
        with self._lock:
            place = (vendor, credentials_block)
            if place not in self._providers:
                fields = self.saved.credentials(credentials_block) if credentials_block else None
                self._providers[place] = providers.connect(vendor, fields, timeout_s=self.timeout_s)
            return self._providers[place]

    def with_credentials(self) -> list[str]:
        """Vendors whose account can be connected from here, without those that keep no accounts."""
        found: list[str] = []
        for vendor in providers.names():
            try:
                one = self.provider(vendor)
            except CredentialsMissing:
                continue
            if one.capabilities.imports:
                found.append(vendor)
        return found

    def teach(self, provider: Provider) -> Provider:
        """Give a provider, once, what was measured with its account (`qflows doctor --spend`)."""
        place = provider.name, provider.account
        if isinstance(provider, MeasuredProvider) and place not in self._taught:
            self._taught.add(place)
            known = facts.known(self.ledger(), *place)
            if known:
                provider.learn({name: fact.seen for name, (fact, _) in known.items()})
        return provider

    def of(self, job: Polled) -> Provider:
        """The provider that may act on a job: one of its account, or of one proved to be the same.

        Raises OtherAccount if there is none here; nothing may be done to the job then. Raises CredentialsMissing if
        there are no credentials for its vendor at all.
        """
        return self._of(job.provider, job.account, job.device, job.vendor_id)

    def of_session(self, record: SessionRecord) -> Provider:
        """The provider that may act on a session. Raises as `of`."""
        return self.of_account(record.provider, record.account, record.device)

    def of_account(self, vendor: str, account: str, device: str) -> Provider:
        """The provider that may act on a record of this account, bought under this device name. Raises as `of`.

        If a renewed key has to be proved, a job of the account serves as proof.
        """
        return self._of(vendor, account, device, None)

    def pages(self, jobs: Iterable[Job]) -> dict[str, str]:
        """Addresses in the vendors' consoles by job key, for jobs that have one. Connects, sends no request."""
        found: dict[str, str] = {}
        for job in jobs:
            try:
                page = next(self._at_hand(job.provider, job.device)).job_page
            except (CredentialsMissing, UnknownDevice):
                continue
            if page and job.vendor_id:
                found[job.key] = page.replace("{id}", quote(job.vendor_id, safe=""))
        return found

    def _of(self, vendor: str, account: str, device: str, vendor_id: str | None) -> Provider:
        at_hand = list(self._at_hand(vendor, device))
        for one in at_hand:
            if one.account == account:
                return self.teach(one)
        for one in at_hand:
            if accounts.are_same(self.ledger(), vendor, account, one.account) or self._proves(one, account, vendor_id):
                return self.teach(one)
        names = ", ".join(one.account for one in at_hand)
        raise OtherAccount(
            f"it belongs to another account of {vendor} ({account}; credentials here are for {names}), so nothing "
            "was done to it. Use the credentials it was bought with; if the key was only renewed, run "
            f"`qflows accounts same {vendor} {account} {at_hand[0].account}`",
            provider=vendor,
            account=account,
        )

    def _at_hand(self, vendor: str, device: str) -> Iterator[Provider]:
        """Providers of a vendor: first the one that the device's profile names, last those connected before."""
        seen: set[str] = set()
        try:
            profile = self.profile(device)
        except NotSent as error:  # Prefect is down: a matching account is proof enough without the saved profile
            log.warning("%s", error)
            profile = profiles.find(device)
        blocks = [profile.credentials] if profile and profile.provider == vendor else []
        missing: CredentialsMissing | None = None
        for block in [*blocks, None]:
            try:
                one = self.provider(vendor, block)
            except CredentialsMissing as error:
                missing = missing or error
                continue
            if one.account not in seen:
                seen.add(one.account)
                yield one
        with self._lock:
            others = [one for (name, _), one in self._providers.items() if name == vendor]
        for one in others:
            if one.account not in seen:
                seen.add(one.account)
                yield one
        if not seen:
            raise missing or UnknownDevice(f"no vendor {vendor!r}")

    def _proves(self, candidate: Provider, account: str, vendor_id: str | None) -> bool:
        """Whether the vendor shows a job of `account` to these credentials; both are then of one account."""
        place = (candidate.name, account, candidate.account, vendor_id or "")
        asked = self._unproved.get(place)
        if asked is not None and time.monotonic() - asked < _ASK_AGAIN_S:
            return False
        witness = vendor_id or reads.newest_vendor_id(self.ledger(), candidate.name, account)
        try:
            shown = witness is not None and candidate.exists(witness)
        except LedgerError:
            raise
        except Exception as error:  # noqa: BLE001  (an unreadable answer proves nothing)
            log.info("could not ask %s for job %s: %s", candidate.name, witness, error)
            return False
        if shown:
            accounts.note_same(self.ledger(), candidate.name, account, candidate.account, proof=f"shows job {witness}")
        else:
            self._unproved[place] = time.monotonic()
        return shown

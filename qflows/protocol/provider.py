"""The methods of every vendor adapter."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from qflows.model import Quote
from qflows.programs import Program
from qflows.protocol.capabilities import Capabilities, DeviceInfo, Limits
from qflows.protocol.credentials import VendorOptions
from qflows.protocol.jobs import Accepted, Found, JobSpec, Observation, Prepared, RawAnswer, VendorResult


class Provider(Protocol):
    """A vendor behind five verbs and a look-up."""

    @property
    def name(self) -> str:
        """The vendor's folder name."""
        ...

    @property
    def account(self) -> str:
        """A name for the credentials that does not reveal them; with `name` it names the polling lane."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this vendor's API offers."""
        ...

    @property
    def job_page(self) -> str | None:
        """The job's page in the vendor's console, with `{id}` for its id; None if there is no such page, and for an
        emulator."""
        ...

    def read(self, source: Any) -> Program | None:
        """`source` as a program if it is in this vendor's own form, otherwise None."""
        ...

    def devices(self) -> Sequence[DeviceInfo]:
        """All devices the account may use; a `DeviceList` if part of them could not be asked for."""
        ...

    def limits(self, device_id: str) -> Limits:
        """Limits of a device that has no profile; may ask the vendor. Raises Refused for an unknown device."""
        ...

    def check(self, spec: JobSpec) -> None:
        """Raise ProgramRejected for what this vendor's wire format cannot carry. No I/O."""
        ...

    def options_model(self, device_id: str) -> type[VendorOptions]:
        """The options that jobs on this device take. No I/O."""
        ...

    def prepare(self, spec: JobSpec, key: str) -> Prepared:
        """Do everything up to the first byte of the submission: compile, read targets, build the body.

        Nothing that it raises leaves a doubt: ProgramRejected or Refused for a job that cannot be sent, NotSent if
        something it needs is unreachable; anything else counts as a rejection, with its text.
        """
        ...

    def send(self, prepared: Prepared) -> Accepted:
        """Send one prepared job, once. Anything but a clear answer raises Ambiguous."""
        ...

    def find_submitted(
        self, keys: Collection[str], *, since: datetime, device_ids: Collection[str]
    ) -> Mapping[str, Sequence[Found]]:
        """Jobs at the vendor that carry one of `keys`, oldest first; a key without any is absent."""
        ...

    def poll(self, vendor_ids: Sequence[str]) -> Mapping[str, Observation]:
        """Statuses in ceil(n / poll_page) requests; an id the vendor does not list is absent, not finished."""
        ...

    def exists(self, vendor_id: str) -> bool:
        """Ask for one job by its id: False only on the vendor's own statement that it has no such job."""
        ...

    def fetch(self, vendor_id: str, spec: JobSpec) -> RawAnswer:
        """Download everything a finished job returned, cost included; safe to repeat. Nothing is interpreted beyond
        what finding the documents needs."""
        ...

    def decode(self, raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
        """Decode a downloaded answer. Pure: no I/O, the same answer for the same bytes. Raises Unreadable."""
        ...

    def cancel(self, vendor_id: str) -> None:
        """Ask the vendor to cancel; the next poll shows whether it worked. Finished jobs: no error."""
        ...

    def estimate(self, spec: JobSpec) -> Quote | None:
        """The cost of the job, including the vendor's costly defaults, or None if it is unknown.

        May ask the vendor for prices and buys nothing. A job inside a session is priced as if it were outside.
        """
        ...

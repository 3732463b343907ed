"""Vendors' devices now, compared with what is known here: present, gone, or unknown because nobody could be asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qflows.core import profiles
from qflows.core.devices import Vendors
from qflows.core.profiles import DeviceProfile
from qflows.errors import CredentialsMissing, ProviderError, UnknownDevice
from qflows.protocol import DeviceInfo, DeviceList

GONE, UNASKED = "gone", "not asked"


@dataclass(frozen=True, slots=True)
class Standing:
    """One device: as the vendor lists it, with the shipped profiles that name it. Without `info` the vendor did not
    list it; `state` then says whether it is gone."""

    vendor: str
    device_id: str
    info: DeviceInfo | None
    names: tuple[str, ...]
    state: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Overview:
    """Devices of some vendors. `troubles`: one line for each question that failed."""

    standings: tuple[Standing, ...]
    troubles: tuple[str, ...]


def look(vendors: Vendors, names: Sequence[str], *, is_chosen: bool) -> Overview:
    """Ask each vendor for its devices. A vendor that is down or partly refuses does not affect the others.

    `is_chosen`: the user named the only vendor, so its failure is raised. Otherwise vendors without credentials are
    silently left out.
    """
    found: list[Standing] = []
    troubles: list[str] = []
    for vendor in names:
        try:
            listed = vendors.provider(vendor).devices()
        except CredentialsMissing:
            if is_chosen:
                raise
            continue
        except (ProviderError, UnknownDevice, ImportError) as error:
            if is_chosen:
                raise
            troubles.append(f"{vendor}: {error}")
            continue
        missed = dict(listed.troubles) if isinstance(listed, DeviceList) else {}
        troubles += [f"{vendor}, {place}: {reason}" for place, reason in missed.items()]
        found += _standings(vendor, listed, is_whole=not missed)
    return Overview(tuple(found), tuple(troubles))


def _standings(vendor: str, listed: Sequence[DeviceInfo], *, is_whole: bool) -> list[Standing]:
    known: dict[str, list[DeviceProfile]] = {}
    for profile in profiles.shipped().values():
        if profile.provider == vendor:
            known.setdefault(profile.device, []).append(profile)
    there = {info.device_id: info for info in listed}
    found = [
        Standing(
            vendor,
            device_id,
            info,
            tuple(sorted(profile.name for profile in known.get(device_id, ()))),
            "available" if info.is_available else "unavailable",
            info.note or "",
        )
        for device_id, info in there.items()
    ]
    for device_id, of_it in known.items():
        if device_id in there or vendor == "local":
            continue
        retired = next((profile.retired for profile in of_it if profile.retired), None)
        note = (
            f"retired on {retired}"
            if retired
            else "the vendor does not list it for this account; it may be in another region or plan, or gone"
        )
        if nearest := next((profile.nearest for profile in of_it if profile.nearest), None):
            note += f"; nearest: {nearest}"
        state = GONE if is_whole or retired else UNASKED
        names = tuple(sorted(profile.name for profile in of_it))
        found.append(Standing(vendor, device_id, None, names, state, note if state == GONE else ""))
    return found

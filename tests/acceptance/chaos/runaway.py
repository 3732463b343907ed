"""Vendors that accept every submission, answer 502 and never list it: how often is one job bought in a minute?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .cells import DEVICES, LISTS, VENDORS, town

NEVER_S = 80_000.0


def runaway(folder: Path, urls: Mapping[str, str], seconds: float) -> bool:
    """All vendors at once, with their own settle times; prints purchases and what was told. True when all are right."""
    right = True
    with town(folder, urls) as place:
        admin = place.empty()
        victims = {}
        for vendor in VENDORS:
            admin.fault("status", f"{vendor}.submit", status=502, accepted=True, html=True, times=None)
            admin.fault("list_lag", LISTS[vendor], seconds=NEVER_S)
            victims[vendor] = place.forge.start(
                env=place.env("ann"), url=urls["sqlite"], run_key=f"runaway-{vendor}", vendor=vendor,
                device=DEVICES[vendor], flow="impatient", states=[5], settle_s=None, seconds=seconds,
            )  # fmt: skip
        print(f"{'':<8}{'POSTs':>6}{'purchases':>11}  told after {seconds:g} s")
        for vendor, victim in victims.items():
            assert victim.ended(seconds + 60)
            found = victim.outcome() or {}
            told, (row,) = str(found.get("answer", [found.get("error")])[0]), found["jobs"]
            bought, posts = admin.count_jobs(vendor), admin.requests(f"{vendor}.submit")
            print(f"{vendor:<8}{posts:>6}{bought:>11}  {row['status']}; {told}")
            asks = row["status"] == "IN_DOUBT" and "qflows jobs resolve" in told
            right = right and 1 <= bought <= 2 and posts <= 2 and asks
    return right

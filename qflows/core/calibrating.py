"""The calibration of a device, kept with the counts it gave: read at intervals, stored once each in the ledger."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qflows.errors import LedgerError
from qflows.keys import digest
from qflows.ledger import measurements
from qflows.ledger.store import Ledger
from qflows.protocol import CalibrationProvider, Provider

log = logging.getLogger("qflows.poller")

_FRESH_S = 3600.0  # devices are calibrated once or a few times a day
_RETRY_S = 600.0
_MAX_BYTES = 4_000_000

Place = tuple[str, str, str]


@dataclass
class Calibrations:
    """Digests of calibrations by device, as last read by this process. Thread-safe."""

    _known: dict[Place, tuple[str | None, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, ledger: Ledger, provider: Provider, device_id: str) -> str | None:
        """The digest under which the ledger stores the device's calibration; None if the vendor publishes none or could
        not be asked. At most one request per hour and device; a failure here never affects a result."""
        if not isinstance(provider, CalibrationProvider):
            return None
        place = provider.name, provider.account, device_id
        with self._lock:
            known, until = self._known.get(place, (None, 0.0))
            if time.monotonic() < until:
                return known
            found, again_s = None, _RETRY_S
            try:
                found, again_s = _kept(ledger, provider.calibration(device_id)), _FRESH_S
            except LedgerError:
                raise
            except Exception as error:  # noqa: BLE001  (vendor boundary: counts are worth more)
                log.info("the calibration of %s could not be read: %s", device_id, error)
            self._known[place] = found, time.monotonic() + again_s
            return found


def _kept(ledger: Ledger, body: Mapping[str, Any] | None) -> str | None:
    if not body:
        return None
    text = json.dumps(body, sort_keys=True, allow_nan=False)
    if len(text) > _MAX_BYTES:
        log.info("a calibration of %d bytes is not kept", len(text))
        return None
    name = digest("calibration/1", json.loads(text))
    measurements.keep_calibration(ledger, name, json.loads(text))
    return name

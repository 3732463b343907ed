"""The emulated devices: names, labels, gates, couplers, bounds and prices, taken from their own documents.

GetDevice answers captured in public repositories: Garnet, Emerald and IBEX-Q1 on 2026-09-23, Cepheus-1-108Q on
2026-05-05, Forte-Enterprise-1 on 2026-05-03; retirements: CHANGELOG of amazon-braket-sdk. Forte-1 has no recent
capture and is given the document of Forte-Enterprise-1. The gates of SV1 and DM1 are those of the SDK without the ones
that AWS keeps for the local simulator: unverified. Error rates are invented.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

ACCOUNT = "123456789012"
TASK_FEE_USD = 0.30  # every QPU; aws.amazon.com/braket/pricing, 2026-09
SIMULATOR_REGIONS = ("us-east-1", "us-west-1", "us-west-2", "eu-west-2")  # not eu-north-1 (measured 2026-09-13)
REGIONS = (*SIMULATOR_REGIONS, "eu-north-1")

_COMMON = ("h", "i", "rx", "ry", "rz", "s", "si", "t", "ti", "x", "y", "z")
_PHASES = ("cphaseshift", "cphaseshift00", "cphaseshift01", "cphaseshift10", "phaseshift")
_WIDE = ("ccnot", "cnot", "cswap", "cz", "iswap", "pswap", "swap", "xy", *_PHASES, *_COMMON)
_SET_I = ("cy", "ecr", "v", "vi", "xx", "yy", "zz", "prx", *_WIDE)
_IQM = (*_SET_I, "cc_prx", "measure_ff", "barrier", "if")
_AQT = _SET_I
_RIGETTI = (*_WIDE, "barrier")
_IONQ = ("x", "y", "z", "h", "s", "si", "t", "ti", "v", "vi", "rx", "ry", "rz", "cnot", "swap", "xx", "yy", "zz")
_SIMULATED = ("cv", "cy", "ecr", "v", "vi", "xx", "yy", "zz", *_WIDE)

Window = tuple[str, str, str]
_ALWAYS: tuple[Window, ...] = (("Everyday", "00:00:00", "23:59:59"),)


@dataclass(frozen=True)
class Device:
    """One device. `native`: gates a verbatim box may hold, as the document spells them.

    `labels`: the qubits' own numbers. `edges`: pairs with a two-qubit gate, None: all. `sets`: most executables and
    most shots of a program set, None: takes none. `windows`: (day, start, end) in UTC. `rates`: chance of an error
    per gate on one qubit, on two, and at readout.
    """

    arn: str
    name: str
    provider: str
    labels: tuple[int, ...]
    shots: tuple[int, int]
    price: float
    schema: tuple[str, str]
    gates: tuple[str, ...]
    native: tuple[str, ...] = ()
    edges: tuple[tuple[int, int], ...] | None = None
    sets: tuple[int, int] | None = None
    set_version: str = "1"
    rates: tuple[float, float, float] | None = None
    location: str = ""
    windows: tuple[Window, ...] = _ALWAYS
    takes_partial_box: bool = True
    measures_all: bool = False
    retired: bool = False

    @property
    def is_qpu(self) -> bool:
        """False for a managed simulator."""
        return "/qpu/" in self.arn

    @property
    def qubits(self) -> int:
        """Number of qubits."""
        return len(self.labels)

    @property
    def region(self) -> str | None:
        """The region of a QPU; simulators run in the caller's."""
        return self.arn.split(":")[3] or None

    def serves(self, region: str) -> bool:
        """True if callers of this region see the device."""
        return region == self.region if self.region else region in SIMULATOR_REGIONS


def _numbered(count: int, start: int = 0) -> tuple[int, ...]:
    return tuple(range(start, start + count))


def _pairs(text: str) -> tuple[tuple[int, int], ...]:
    return tuple((int(a), int(b)) for a, _, b in (pair.partition("-") for pair in text.split()))


_GARNET = _pairs(
    "1-2 1-4 2-5 3-4 3-8 4-5 4-9 5-6 5-10 6-7 6-11 7-12 8-9 8-13 9-10 9-14 10-11 10-15 11-12 11-16 12-17 13-14 14-15 "
    "14-18 15-16 15-19 16-17 16-20 18-19 19-20"
)


def _emerald() -> Iterator[tuple[int, int]]:
    """85 of 90 couplers: rows of neighbors, and each row to the next; five were out on the day of the capture."""
    rows = ((1, 2), (3, 7), (8, 14), (15, 22), (23, 31), (32, 39), (40, 46), (47, 51), (52, 54))
    found = [(i, i + 1) for first, last in rows for i in range(first, last)] + [(1, 5), (2, 6)]
    between = ((3, 7, 6), (8, 14, 8), (15, 22, 8), (24, 31, 8), (32, 38, 8), (41, 45, 6), (48, 50, 4))
    found += [(i, i + step) for first, last, step in between for i in range(first, last + 1)]
    out = set(_pairs("6-7 15-23 24-32 49-50 50-54"))
    yield from (pair for pair in found if pair not in out)


def _grid(columns: int, count: int, *, without: int) -> Iterator[tuple[int, int]]:
    for i in range(count):
        for j in (i + 1, i + columns):
            if j < count and without not in (i, j) and (j == i + columns or j % columns):
                yield i, j


_SCHEMA = "braket.device_schema."
_SIMULATOR = (_SCHEMA + "simulators.gate_model_simulator_device_capabilities", "1")
_IQM_SCHEMA = (_SCHEMA + "iqm.iqm_device_capabilities", "1")
_IONQ_SCHEMA = (_SCHEMA + "ionq.ionq_device_capabilities", "1")
_RIGETTI_SCHEMA = (_SCHEMA + "rigetti.rigetti_device_capabilities", "2")
_IQM_NATIVE = ("cz", "prx", "cc_prx", "measure_ff", "barrier")
_IONQ_NATIVE = ("GPI", "GPI2", "ZZ")
_IONQ_RATES = (0.0005, 0.007, 0.003)
_GARNET_HOURS: tuple[Window, ...] = (
    ("Weekdays", "00:00:00", "01:29:59"), ("Weekdays", "03:15:00", "15:29:59"), ("Weekdays", "17:15:00", "23:59:59"),
)  # fmt: skip
_IBEX_HOURS: tuple[Window, ...] = (
    ("Monday", "11:00:00", "15:00:00"), ("Tuesday", "08:00:00", "15:00:00"), ("Wednesday", "08:00:00", "15:00:00"),
    ("Friday", "08:00:00", "15:00:00"),
)  # fmt: skip
_CEPHEUS_HOURS: tuple[Window, ...] = (
    ("Everyday", "00:00:00", "06:59:59"), ("Everyday", "09:00:00", "19:00:00"), ("Everyday", "21:00:00", "23:59:59"),
)  # fmt: skip
_EMERALD_HOURS: tuple[Window, ...] = (
    ("Monday", "22:00:00", "23:59:59"), ("Tuesday", "00:00:00", "23:59:59"), ("Wednesday", "00:00:00", "23:59:59"),
    ("Thursday", "00:00:00", "22:00:00"),
)  # fmt: skip

DEVICES: dict[str, Device] = {
    device.arn: device
    for device in (
        Device("arn:aws:braket:::device/quantum-simulator/amazon/sv1", "SV1", "Amazon Braket", _numbered(34),
               (0, 100_000), 0.075, _SIMULATOR, _SIMULATED, location="us-east-1", measures_all=True),
        Device("arn:aws:braket:::device/quantum-simulator/amazon/dm1", "dm1", "Amazon Braket", _numbered(17),
               (0, 100_000), 0.075, _SIMULATOR, _SIMULATED, location="us-east-1", measures_all=True),
        # the documents of IonQ's devices say requiresAllQubitsMeasurement false; the service refuses all the same
        # (integration tests of amazon-braket-sdk, 2026-08)
        Device("arn:aws:braket:us-east-1::device/qpu/ionq/Forte-1", "Forte 1", "IonQ", _numbered(36), (100, 5_000),
               0.08, _IONQ_SCHEMA, _IONQ, _IONQ_NATIVE, None, (100, 200_000), rates=_IONQ_RATES,
               location="Maryland, USA", takes_partial_box=False, measures_all=True),
        Device("arn:aws:braket:us-east-1::device/qpu/ionq/Forte-Enterprise-1", "Forte Enterprise 1", "IonQ",
               _numbered(36), (100, 5_000), 0.08, _IONQ_SCHEMA, _IONQ, _IONQ_NATIVE, None, None, rates=_IONQ_RATES,
               location="Basel, Switzerland", takes_partial_box=False, measures_all=True),
        Device("arn:aws:braket:us-west-1::device/qpu/rigetti/Cepheus-1-108Q", "Cepheus-1-108Q", "Rigetti",
               tuple(i for i in range(108) if i != 8), (10, 50_000), 0.000425, _RIGETTI_SCHEMA, _RIGETTI,
               ("rx", "rz", "cz", "barrier"), tuple(_grid(9, 108, without=8)), (100, 200_000),
               rates=(0.001, 0.01, 0.03), location="California, USA", windows=_CEPHEUS_HOURS),
        Device("arn:aws:braket:us-west-1::device/qpu/rigetti/Ankaa-3", "Ankaa-3", "Rigetti", _numbered(82),
               (10, 50_000), 0.0009, _RIGETTI_SCHEMA, _RIGETTI, ("rx", "rz", "iswap"),
               tuple(_grid(12, 82, without=-1)), location="California, USA", retired=True),
        Device("arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet", "Garnet", "IQM", _numbered(20, 1), (1, 20_000),
               0.00145, _IQM_SCHEMA, _IQM, _IQM_NATIVE, _GARNET, (100, 200_000), rates=(0.001, 0.008, 0.02),
               location="Espoo, Finland", windows=_GARNET_HOURS),
        Device("arn:aws:braket:eu-north-1::device/qpu/iqm/Emerald", "Emerald", "IQM", _numbered(54, 1), (1, 20_000),
               0.0016, _IQM_SCHEMA, _IQM, _IQM_NATIVE, tuple(_emerald()), (100, 200_000), rates=(0.001, 0.006, 0.02),
               location="Munich, Germany", windows=_EMERALD_HOURS),
        Device("arn:aws:braket:eu-north-1::device/qpu/aqt/Ibex-Q1", "Ibex-Q1", "AQT", _numbered(12), (1, 2_000),
               0.0235, (_SCHEMA + "aqt.aqt_device_capabilities", "1"), _AQT, ("prx", "xx", "rz"), None, (100, 10_000),
               "1.0", (0.0005, 0.0184, 0.003), "Innsbruck, Austria", _IBEX_HOURS),
    )
}  # fmt: skip


def unit(device: Device) -> str:
    """The unit that `deviceCost.price` is counted in."""
    return "shot" if device.is_qpu else "minute"


def price_list() -> str:
    """The offers CSV as `braket.tracking` reads it: five lines of metadata, then a header."""
    columns = ("Product Family", "Region Code", "DeviceName", "Device Name", "Version", "operation", "Currency", "Unit")
    lines = ['"FormatVersion","v1.0"', '"Disclaimer","sandbox"', '"Publication Date","2026-01-01T00:00:00Z"']
    lines += ['"Version","1"', '"OfferCode","AmazonBraket"', ",".join((*columns, "PricePerUnit"))]
    for device in DEVICES.values():
        name = device.arn.rsplit("/", 1)[1]
        if device.is_qpu:
            rows = [("Quantum Task-Shot", device.price, "Shot"), ("Quantum Task", TASK_FEE_USD, "Task")]
            lines += [f'"{f}","{device.region}","{name}","","","","USD","{u}","{p}"' for f, p, u in rows]
            continue
        version = name.upper()
        lines += [
            f'"Simulator Task","{region}","","","{version}","CompleteTask","USD","minutes","{device.price}"'
            for region in SIMULATOR_REGIONS
        ]
    return "\n".join(lines) + "\n"

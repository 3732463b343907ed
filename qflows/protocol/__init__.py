"""What a vendor adapter must do. Adapters know nothing of the ledger, of Prefect, or of each other.

Every method may raise an error of the `ProviderError` family; its type says whether the call may be repeated.
Instances are used from several threads at once.
"""

from qflows.protocol.capabilities import Capabilities, DeviceInfo, DeviceList, Limits, Lookup, Pace
from qflows.protocol.credentials import VendorCredentials, VendorOptions
from qflows.protocol.diagnosis import Bench, Bought, DiagnosedProvider, Fact, Finding, MeasuredProvider, Verdict
from qflows.protocol.jobs import Accepted, Found, JobSpec, Observation, Phase, Prepared, RawAnswer, VendorResult
from qflows.protocol.optional import (
    CalibrationProvider,
    ChildrenProvider,
    CompileWish,
    CompilingProvider,
    Condition,
    ConditionProvider,
    Foreign,
    ImportProvider,
    Listed,
    PatientProvider,
    SessionInfo,
    SessionProvider,
    TagProvider,
)
from qflows.protocol.provider import Provider

__all__ = [
    "Accepted",
    "Bench",
    "Bought",
    "CalibrationProvider",
    "Capabilities",
    "ChildrenProvider",
    "CompileWish",
    "CompilingProvider",
    "Condition",
    "ConditionProvider",
    "DeviceInfo",
    "DeviceList",
    "DiagnosedProvider",
    "Fact",
    "Finding",
    "Foreign",
    "Found",
    "ImportProvider",
    "JobSpec",
    "Limits",
    "Listed",
    "Lookup",
    "MeasuredProvider",
    "Observation",
    "Pace",
    "PatientProvider",
    "Phase",
    "Prepared",
    "Provider",
    "RawAnswer",
    "SessionInfo",
    "SessionProvider",
    "TagProvider",
    "VendorCredentials",
    "VendorOptions",
    "VendorResult",
    "Verdict",
]

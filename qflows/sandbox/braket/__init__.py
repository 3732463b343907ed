"""Amazon Braket (API 2019-09-01) with as much S3 and STS as its SDK needs, as an emulator on one port."""

from qflows.sandbox.braket.api import Braket as Emulator

__all__ = ["Emulator"]

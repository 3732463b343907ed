"""ARNs of the emulated Braket devices, written out and not imported from the emulator."""

SV1 = "arn:aws:braket:::device/quantum-simulator/amazon/sv1"
FORTE = "arn:aws:braket:us-east-1::device/qpu/ionq/Forte-1"
ANKAA = "arn:aws:braket:us-west-1::device/qpu/rigetti/Ankaa-3"
RETIRED = "arn:aws:braket:us-west-1::device/qpu/rigetti/Aspen-M-3"
GARNET = "arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet"
BUCKET = "amazon-braket-sandbox"

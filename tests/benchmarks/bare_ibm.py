"""What IBM's own client needs for a list of circuits: build, compile at level 0, encode, and read the counts.

    python tests/benchmarks/bare_ibm.py 20000

The circuits are those of `long_list.py`. No requests, no jobs and no storage: a floor, on a device's snapshot.
"""

from __future__ import annotations

import json
import resource
import sys

from table import peak_mb

WIDTH, SHOTS, PER_JOB = 15, 10, 200


def main(n: int) -> None:
    """Prints CPU seconds without imports, and the peak of memory in MB."""
    import numpy as np
    from qiskit import QuantumCircuit
    from qiskit.primitives import BitArray, DataBin, PrimitiveResult, SamplerPubResult
    from qiskit.transpiler.preset_passmanagers import generate_preset_pass_manager
    from qiskit_ibm_runtime.fake_provider import FakeFez
    from qiskit_ibm_runtime.json import RuntimeDecoder, RuntimeEncoder

    manager = generate_preset_pass_manager(optimization_level=0, target=FakeFez().target, seed_transpiler=1)
    began = _cpu_s()
    found = 0
    for start in range(0, n, PER_JOB):
        numbers = range(start, min(start + PER_JOB, n))
        pubs = []
        for number in numbers:
            circuit = QuantumCircuit(WIDTH, WIDTH)
            for qubit in range(WIDTH):
                if number >> qubit & 1:
                    circuit.x(qubit)
            circuit.measure(range(WIDTH), range(WIDTH))
            pubs.append((manager.run(circuit), None, SHOTS))
        json.dumps({"pubs": pubs, "version": 2}, cls=RuntimeEncoder).encode()
        rows = [np.full((SHOTS, 2), divmod(number, 256), dtype=np.uint8) for number in numbers]
        told = PrimitiveResult([SamplerPubResult(DataBin(c=BitArray(row, WIDTH))) for row in rows])
        text = json.dumps(told, cls=RuntimeEncoder)
        found += sum(len(pub.data.c.get_counts()) for pub in json.loads(text, cls=RuntimeDecoder))
    assert found == n
    print(json.dumps({"CPU s": round(_cpu_s() - began, 1), "imports s": round(began, 1), "peak MB": round(peak_mb())}))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""What every provider must do. Subclass per vendor: `tests/providers/<vendor>/test_conformance.py`.

    from conformance import ProviderConformance
    from probes import Target

    class TestAcme(ProviderConformance):            # with an API in the sandbox: remote_conformance.RemoteConformance
        sampling = (Target("acme-sim"), Target("acme-qpu", noise=0.1))

        @pytest.fixture
        def provider(self, sandbox): return connect("acme", {...})

Nothing here knows a vendor's name. What a vendor does not offer is said by its `Capabilities`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from probes import PROBES, Probe, Target, total_variation, variation_bound
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister

from qflows.errors import ProgramRejected, Throttled
from qflows.keys import digest
from qflows.model import Counts, ItemResult
from qflows.programs import Program, to_program
from qflows.protocol import Accepted, JobSpec, Observation, Phase, Provider, VendorResult

OVER = (Phase.DONE, Phase.FAILED, Phase.CANCELLED)
TIMEOUT_S = 30.0
RANDOM_CIRCUITS = 20


def key_of(*parts: Any) -> str:
    """A job key for a test, the same in every run, so that seeds derived from it draw the same shots."""
    return digest("conformance/1", *map(str, parts))


def spec_of(provider: Provider, target: Target, *programs: Program, shots: int | None, name: str = "probe") -> JobSpec:
    """A job of `programs` on a target."""
    return JobSpec(provider.name, target.device_id, programs, shots, options=dict(target.options), name=name)


def wait(provider: Provider, vendor_ids: Sequence[str]) -> Mapping[str, Observation]:
    """Polls until all are over. Fails after TIMEOUT_S."""
    deadline = time.monotonic() + TIMEOUT_S
    looks: Mapping[str, Observation] = {}
    while True:
        pause_s = 0.01
        try:
            looks = provider.poll(vendor_ids)
        except Throttled as error:  # as the core does
            pause_s = error.retry_after_s or pause_s
        if all(vendor_id in looks and looks[vendor_id].phase in OVER for vendor_id in vendor_ids):
            return looks
        assert time.monotonic() + pause_s < deadline, f"not over after {TIMEOUT_S:g} s: {looks}"
        time.sleep(pause_s)


def run(provider: Provider, spec: JobSpec, key: str) -> VendorResult:
    """Checks, submits, waits and fetches, as the core does."""
    return run_all(provider, [(spec, key)])[0]


def run_all(provider: Provider, jobs: Sequence[tuple[JobSpec, str]]) -> list[VendorResult]:
    """The same for several jobs; all are submitted before the first is waited for."""
    accepted: list[Accepted] = []
    for spec, key in jobs:
        provider.check(spec)
        accepted.append(provider.submit(spec, key))
    looks = wait(provider, [job.vendor_id for job in accepted])
    for vendor_id, look in looks.items():
        assert look.phase is Phase.DONE, f"{vendor_id}: {look}"
    return [provider.result(job.vendor_id, spec, key) for job, (spec, key) in zip(accepted, jobs, strict=True)]


def counts_of(item: ItemResult) -> Counts:
    """The counts of an item that must have some."""
    assert item.error is None, item.error
    assert item.counts is not None
    return item.counts


def bell(name: str = "bell") -> Program:
    """A Bell pair, both measured."""
    circuit = QuantumCircuit(2, 2, name=name)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return to_program(circuit)


class ProviderConformance:
    """The contract of `qflows.protocol.Provider`, for any vendor."""

    sampling: ClassVar[tuple[Target, ...]] = ()
    """Devices that take shots."""
    exact: ClassVar[tuple[Target, ...]] = ()
    """Devices that run without shots."""
    random_shots: ClassVar[int] = 4000
    probe_shots: ClassVar[int] = 100

    @pytest.fixture
    def provider(self) -> Provider:
        """A connected provider."""
        raise NotImplementedError("give a fixture `provider` in the subclass")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test per device, probe or word, from the attributes of the subclass."""
        if "target" in metafunc.fixturenames:
            metafunc.parametrize("target", self.sampling, ids=str)

    # -- bit order ---------------------------------------------------------------------------------------------

    def test_asymmetric_probe_is_read_at_its_own_place(self, provider: Provider, target: Target) -> None:
        probes = [probe for probe in PROBES if probe.circuit.num_qubits <= target.max_qubits]
        jobs = [
            (spec_of(provider, target, to_program(p.circuit), shots=self.probe_shots), key_of("probe", target, p))
            for p in probes
        ]
        for probe, result in zip(probes, run_all(provider, jobs), strict=True):
            self._assert_probe(probe, counts_of(result.items[0]), target)

    def _assert_probe(self, probe: Probe, counts: Counts, target: Target) -> None:
        assert counts.shots == self.probe_shots
        shape = [len(word) for word in probe.key.split(" ")]
        assert all([len(word) for word in key.split(" ")] == shape for key in counts), (probe.name, counts)
        assert counts.get(probe.key, 0) >= (1 - 2 * target.noise) * self.probe_shots, (probe.name, probe.key, counts)

    def test_unmeasured_qubit_does_not_appear(self, provider: Provider, target: Target) -> None:
        circuit = QuantumCircuit(3, 1)
        circuit.h([0, 2])
        circuit.x(1)
        circuit.measure(1, 0)
        spec = spec_of(provider, target, to_program(circuit), shots=self.probe_shots)
        counts = counts_of(run(provider, spec, key_of("unmeasured", target)).items[0])
        assert set(counts) <= {"0", "1"}
        assert counts["1"] >= (1 - 2 * target.noise) * self.probe_shots

    def test_random_circuits_agree_with_the_state_vector(self, provider: Provider, target: Target) -> None:
        made = [target.random_circuit(seed) for seed in range(RANDOM_CIRCUITS)]
        jobs = [
            (
                spec_of(provider, target, to_program((circuit, values)), shots=self.random_shots),
                key_of("random", target, place),
            )
            for place, (circuit, values, _) in enumerate(made)
        ]
        for (circuit, _, expected), result in zip(made, run_all(provider, jobs), strict=True):
            counts = counts_of(result.items[0])
            assert counts.shots == self.random_shots
            found = total_variation(counts.probabilities(), expected)
            assert found <= variation_bound(expected, self.random_shots) + target.noise, circuit.name

    def test_exact_device_gives_the_state_vector_probabilities(self, provider: Provider) -> None:
        for target in self.exact:
            made = [target.random_circuit(seed) for seed in range(RANDOM_CIRCUITS)]
            jobs = [
                (spec_of(provider, target, to_program((circuit, values)), shots=None), key_of("exact", target, place))
                for place, (circuit, values, _) in enumerate(made)
            ]
            for (circuit, _, expected), result in zip(made, run_all(provider, jobs), strict=True):
                (item,) = result.items
                assert item.counts is None
                assert item.probabilities is not None
                assert total_variation(item.probabilities, expected) < 1e-9, circuit.name

    # -- results -----------------------------------------------------------------------------------------------

    def test_result_read_twice_is_the_same(self, provider: Provider, target: Target) -> None:
        spec, key = spec_of(provider, target, bell(), shots=321), key_of("twice", target)
        vendor_id = provider.submit(spec, key).vendor_id
        wait(provider, [vendor_id])
        first = provider.result(vendor_id, spec, key)
        assert counts_of(first.items[0]).shots == 321
        assert provider.result(vendor_id, spec, key).items == first.items

    def test_memory_if_given_is_the_counts_in_shot_order(self, provider: Provider, target: Target) -> None:
        spec = spec_of(provider, replace(target, options={**target.options, "memory": True}), bell(), shots=200)
        try:
            provider.check(spec)
        except ProgramRejected:  # no such option: what comes without asking must be right all the same
            spec = spec_of(provider, target, bell(), shots=200)
        (item,) = run(provider, spec, key_of("memory", target)).items
        if item.memory is not None:
            assert {key: item.memory.count(key) for key in set(item.memory)} == counts_of(item)

    def test_composite_job_keeps_order_and_widths(self, provider: Provider, target: Target) -> None:
        if (provider.limits(target.device_id).max_programs or provider.capabilities.max_programs) < 2:
            pytest.skip("no composite jobs")
        circuits = [to_program(probe.circuit) for probe in PROBES if probe.circuit.num_qubits <= target.max_qubits]
        probes = [probe for probe in PROBES if probe.circuit.num_qubits <= target.max_qubits]
        spec = spec_of(provider, target, *circuits, shots=self.probe_shots)
        items = run(provider, spec, key_of("composite", target)).items
        assert len(items) == len(probes)
        for probe, item in zip(probes, items, strict=True):
            self._assert_probe(probe, counts_of(item), target)

    def test_equal_circuits_of_a_composite_are_sampled_independently(self, provider: Provider, target: Target) -> None:
        if (provider.limits(target.device_id).max_programs or provider.capabilities.max_programs) < 2:
            pytest.skip("no composite jobs")
        spec = spec_of(provider, target, bell("one"), bell("two"), bell("three"), shots=1000)
        items = run(provider, spec, key_of("independent", target)).items
        # three equal histograms of 1000 fair coins: (0.0178)**2 by chance, and the seeds are fixed
        assert len({counts_of(item)["00"] for item in items}) > 1

    # -- devices and admission ---------------------------------------------------------------------------------

    def test_every_device_tried_here_is_known_to_the_provider(self, provider: Provider) -> None:
        for target in (*self.sampling, *self.exact):
            limits = provider.limits(target.device_id)
            assert limits.max_qubits is None or limits.max_qubits >= 2
        assert {device.device_id for device in provider.devices()}

    def test_gate_known_by_name_only_is_refused(self, provider: Provider, target: Target) -> None:
        from qiskit.circuit import Gate

        circuit = QuantumCircuit(QuantumRegister(1, "q"), ClassicalRegister(1, "c"))
        circuit.append(Gate("odd", 1, [0.25]), [0])
        circuit.h(0)
        circuit.measure(0, 0)
        with pytest.raises(ProgramRejected):
            provider.check(spec_of(provider, target, to_program(circuit), shots=10))

    def test_check_takes_what_the_suite_runs(self, provider: Provider, target: Target) -> None:
        provider.check(spec_of(provider, target, bell(), shots=10))

    def test_labels_are_not_part_of_the_identity(self, provider: Provider, target: Target) -> None:
        spec = spec_of(provider, target, bell(), shots=10)
        assert replace(spec, name="other", tags={"a": "b"}).content == spec.content

    def test_account_names_no_secret(self, provider: Provider) -> None:
        assert provider.account
        assert len(provider.account) < 256


__all__ = ["ProviderConformance", "bell", "counts_of", "key_of", "run", "run_all", "spec_of", "wait"]

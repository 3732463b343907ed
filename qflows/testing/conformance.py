"""What every provider must do. Subclass once a vendor; an adapter with a wire subclasses `RemoteConformance` instead.

    from qflows.providers import connect
    from qflows.testing import ProviderConformance, Target

    class TestAcme(ProviderConformance):
        sampling = (Target("acme-sim"), Target("acme-qpu", noise=0.1))

        @pytest.fixture
        def provider(self):
            return connect("acme", {...})

Nothing here knows a vendor's name. What a vendor does not offer is said by its `Capabilities` and `Limits`, and the
tests of it are skipped.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Gate

from qflows.errors import ProgramRejected
from qflows.model import Counts
from qflows.programs import to_program
from qflows.protocol import Provider
from qflows.testing.circuits import PROBES, Probe, Target, bell, total_variation, variation_bound
from qflows.testing.jobs import counts_of, key_of, read_result, run, run_all, send_job, spec_of, wait

RANDOM_CIRCUITS = 20


class ProviderConformance:
    """The contract of `qflows.protocol.Provider`, for any vendor.

    A subclass gives `sampling` and a fixture `provider`.
    """

    sampling: ClassVar[tuple[Target, ...]] = ()
    """Devices that take shots; each test that has a target runs on all of them."""
    exact: ClassVar[tuple[Target, ...]] = ()
    """Devices that run without shots."""
    random_shots: ClassVar[int] = 4000
    """Shots of each random circuit; fewer give wider bounds on what may differ."""
    random_circuits: ClassVar[int] = RANDOM_CIRCUITS
    """How many random circuits a device runs."""
    probe_shots: ClassVar[int] = 100
    """Shots of a circuit with one possible outcome."""

    @pytest.fixture
    def provider(self) -> Provider:
        """A connected provider."""
        pytest.fail("give a fixture `provider` in the subclass")

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
        made = [target.random_circuit(seed) for seed in range(self.random_circuits)]
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
            made = [target.random_circuit(seed) for seed in range(self.random_circuits)]
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
        vendor_id = send_job(provider, spec, key).vendor_id
        wait(provider, [vendor_id])
        first = read_result(provider, vendor_id, spec, key)
        assert counts_of(first.items[0]).shots == 321
        assert read_result(provider, vendor_id, spec, key).items == first.items

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

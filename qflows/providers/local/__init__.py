"""Simulators in this process: exact, shots, noisy, and Braket's own."""

"""IBM Quantum (Qiskit Runtime), through qiskit-ibm-runtime."""

"""IonQ Quantum Cloud, REST API v0.4."""

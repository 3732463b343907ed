"""TinyQ on loopback, written from its API page and not from the adapter."""

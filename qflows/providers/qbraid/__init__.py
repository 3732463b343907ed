"""qBraid: many vendors' devices behind one REST API, paid in credits."""

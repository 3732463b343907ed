"""Groups: a named set of jobs on any devices of any vendors."""

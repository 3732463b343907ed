"""Batches: many programs for one device, split and packed into jobs, and read back as one."""

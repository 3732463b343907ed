"""Checking an account before money is spent, and measuring it for very little: `qflows doctor`."""

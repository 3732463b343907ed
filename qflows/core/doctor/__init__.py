"""Examining an account before money is spent, and measuring it with very little: `qflows doctor`."""

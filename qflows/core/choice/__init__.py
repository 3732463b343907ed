"""Choosing a device by rule: what the rule says, what is known of each candidate now, and the choice, made once."""

"""Archives: a study in one file that others can check without an account, a ledger or the network."""

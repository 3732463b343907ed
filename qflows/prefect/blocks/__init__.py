"""Prefect block types, and the documents that `qflows apply` turns into saved blocks."""

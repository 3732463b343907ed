"""The core: buying, waiting and reading jobs, batches, groups and sessions. Knows no Prefect."""

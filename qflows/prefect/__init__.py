"""Everything that is specific to Prefect: tasks, scope, blocks, artifacts, events, and the care for flow runs."""

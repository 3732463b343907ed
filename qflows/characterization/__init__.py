"""What devices are worth: benchmarks, their statistics, their history and its drift. Knows no Prefect."""

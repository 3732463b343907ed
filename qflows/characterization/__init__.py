"""How good devices are: benchmarks, their statistics, their history and its drift. Knows no Prefect."""

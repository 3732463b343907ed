"""What people look at: plots, tables, the page of a run, the morning report. Knows no Prefect."""

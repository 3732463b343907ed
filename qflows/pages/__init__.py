"""Pages for people: plots, tables, the page of a run, the morning report. Knows no Prefect."""

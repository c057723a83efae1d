"""When and in what order: the only place that imports Prefect."""

"""Running a model under a plan: hooks, shortened layers, caches and token bookkeeping."""

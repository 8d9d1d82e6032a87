"""Partial information decomposition: the BROJA solver, its duality gap, and estimates from samples."""

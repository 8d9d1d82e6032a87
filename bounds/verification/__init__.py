"""Verification of every theorem on random worlds, and the search for counterexamples."""

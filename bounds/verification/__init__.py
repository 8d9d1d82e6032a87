"""Checking every theorem on every world, and the search for counterexamples."""

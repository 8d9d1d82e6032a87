"""Answers and accuracy under a plan: generation, protocols, timing, and lmms-eval."""

"""Geometric and proximal redundancy: distances between the paired states of two layers (Definitions 1 and 2)."""

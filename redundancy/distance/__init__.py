"""Geometric and proximal redundancy: distances between the paired states of two layers (D2 and D3)."""

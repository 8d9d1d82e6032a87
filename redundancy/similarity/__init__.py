"""Baselines for layers of any two widths: centred kernel alignment, Procrustes distance, principal angles."""

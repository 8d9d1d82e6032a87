"""Informational redundancy: entropies and mutual informations of states and codes (D5)."""

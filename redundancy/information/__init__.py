"""Informational redundancy: entropies and mutual informations of states and codes (Definition 4)."""

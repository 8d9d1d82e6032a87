"""From measurements to a plan: the paper's conditions and the four regimes."""

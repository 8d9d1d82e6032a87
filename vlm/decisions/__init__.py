"""From measurements to a plan: the paper's two conditions, and the four regimes that they permit."""

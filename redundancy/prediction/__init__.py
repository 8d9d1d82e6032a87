"""Functional redundancy: how well a layer's states predict a target, by cross-fitted regressors (D4)."""

"""Finite-sample confidence intervals over images, and the sentence that says what each one guarantees;
the limits themselves are in `bounds.confidence`."""

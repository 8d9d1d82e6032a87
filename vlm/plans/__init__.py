"""Skip plans: which tokens skip which layers, the text form, and the cost."""

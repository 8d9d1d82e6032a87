"""The theorems, one file each, named as in the paper: lemmas, propositions, theorems, composition and skipping."""

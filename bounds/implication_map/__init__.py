"""Which notion of redundancy implies which, derived from given values through all theorems."""

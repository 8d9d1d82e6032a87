"""From a model and a promise to the cheapest plan that keeps it: search, certification, what comes out."""

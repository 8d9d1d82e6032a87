"""The whole loop on an embedded model: measure, decide, skip, validate."""

"""Hidden states of a model: extracted, stored, and summed into moments."""

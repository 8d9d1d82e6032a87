"""Named methods and their controls on the same questions at equal cost."""

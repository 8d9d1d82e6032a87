"""One file per command of ``skipit``; each imports what it needs only when it runs."""

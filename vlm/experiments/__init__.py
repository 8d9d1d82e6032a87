"""Experiments on disk: specifications, runs, workers, shards and merging."""

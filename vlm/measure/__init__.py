"""Streaming measurements of a model's layers: distances, attention, removal effects, lenses and tracing."""

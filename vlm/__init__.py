"""Measure, plan, skip and validate on vision-language models."""

__all__: list[str] = []

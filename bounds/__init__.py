"""Theorems that tie the notions of redundancy together, and finite-sample certificates."""

from bounds.certificates import Certificate, certify

__all__ = ["Certificate", "certify"]

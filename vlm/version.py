"""The version of this distribution, read when it is asked for."""

from redundancy.version import __version__ as __version__

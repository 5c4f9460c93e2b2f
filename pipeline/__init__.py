"""Puts the parts together and runs them; touches no document itself."""

__version__ = "0.1.0"

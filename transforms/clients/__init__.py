"""Talks to the endpoint; no Beam."""

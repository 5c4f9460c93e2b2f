"""Rank tables of two tokenizers as package data; where they come from is told in NOTICE at the root of the repository."""

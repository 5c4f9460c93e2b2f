"""Bytes at rest, local and gs:// behind one small interface; no Beam."""

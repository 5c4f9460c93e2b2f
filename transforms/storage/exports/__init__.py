"""A committed version in other people's formats: one file for each target, and how to write, resume and finish an export."""

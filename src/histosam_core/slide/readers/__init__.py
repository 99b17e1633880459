"""Readers of slide files, one a format."""

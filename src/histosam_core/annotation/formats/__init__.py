"""Annotation files, one format a module."""

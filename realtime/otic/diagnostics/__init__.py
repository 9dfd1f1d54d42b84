"""Checks and measurements of a machine."""

"""Notifications on their way to receivers."""

"""Sinks for results: logs, recordings, metrics, and receivers behind the delivery queue."""

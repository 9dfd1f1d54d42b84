"""Many recordings at once: found, classified by several processes, and kept as tables."""

"""From scores to events."""

"""From samples to features: log-mel frames and their statistics."""

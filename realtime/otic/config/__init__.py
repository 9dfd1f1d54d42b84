"""Settings, and reading them."""

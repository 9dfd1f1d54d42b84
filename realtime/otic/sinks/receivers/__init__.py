"""Who notifications are delivered to."""

"""Where results go: logs here and now, receivers through the delivery queue."""

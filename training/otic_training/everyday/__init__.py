"""The head ``everyday``: labels that people ask for, learned from what a teacher says of clips."""

"""Events that a person marked right or wrong, and their export as a data set."""

"""Events that a person marked right or wrong, and a data set of them."""

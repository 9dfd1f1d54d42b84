"""Sources on their way through pipelines into sinks, and what can be seen of them."""

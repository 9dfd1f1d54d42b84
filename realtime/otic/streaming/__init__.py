"""Run sources through pipelines into sinks, and show the state of each stream."""

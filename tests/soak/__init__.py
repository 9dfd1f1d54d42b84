"""Long runs of a sensor under random faults: `simulated` is fast, `hour` is in real time."""

"""What is trained: layers, presets, TFLite graphs."""

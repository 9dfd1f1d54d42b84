"""Networks: layers, presets, TFLite graphs."""

"""A page that shows a sensor in a browser: live, its history, and its recordings."""

"""A page to look at a sensor from elsewhere: live, its history, and its recordings."""

"""Teaching: a head for somebody's own sounds, learned in seconds from a few clips."""

"""Reports for people: pages, cards, costs, trackers."""

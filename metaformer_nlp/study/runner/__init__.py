"""Running a study: its cells, in which order, where, and going on after a stop."""

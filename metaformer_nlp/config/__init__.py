"""Options as people write them. Imports nothing of the project, and no library that takes long."""

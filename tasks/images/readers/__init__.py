"""Images from folders, tables and tar archives."""

"""Models for use elsewhere."""

"""From estimates to a page with pictures."""

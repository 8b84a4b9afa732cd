"""From finished cells to estimates."""

"""What a token mixer can do: artificial tasks on images and text."""

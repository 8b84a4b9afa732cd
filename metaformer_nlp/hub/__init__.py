"""What the text and the image models both need of Hugging Face."""

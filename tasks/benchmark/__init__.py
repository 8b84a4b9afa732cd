"""How fast models, readers and packing are."""

"""Fine-tuning and evaluation on GLUE and tasks of its layout."""

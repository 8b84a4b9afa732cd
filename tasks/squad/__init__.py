"""Question answering on SQuAD and files of its layout."""

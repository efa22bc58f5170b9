"""A file, a folder or the hub -> rows of a known format, checked; knows no tokenizer."""

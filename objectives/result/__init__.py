"""What comes out of a study: final test, best adapter, model card."""

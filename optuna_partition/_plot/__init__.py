"""What the figures are made of; reads `inspection` only."""

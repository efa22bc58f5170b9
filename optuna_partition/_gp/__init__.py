"""The models of BaMSOO; the only room that imports torch, and only when one is asked."""

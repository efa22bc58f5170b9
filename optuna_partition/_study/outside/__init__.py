"""Parameters that are in no partition: chosen together, by a rule of their own or by models."""

"""Several trainings at once over one base on one device."""

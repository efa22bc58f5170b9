"""NOMAD as a sampler; its own process alone imports PyNomad."""

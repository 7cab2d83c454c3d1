"""How experiments run: streams, training, store, sweeps."""

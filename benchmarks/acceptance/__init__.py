"""Everything that declares the CUDA path good: `make gpu-acceptance`."""

"""Models: MeshHead, the two Gaussian streams, neural renderers, frozen networks."""

"""Speed of rendering and of training steps."""

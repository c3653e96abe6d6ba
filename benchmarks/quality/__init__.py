"""What a trained model is worth: what stage two makes of a MeshHead, gaze, expression."""

"""What a study left behind: its stored attributes, trials, curves, images and files. Nothing is trained here."""

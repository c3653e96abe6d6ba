"""What is concluded from a study: how sure a gain is, and what was measured for it."""

"""How the guide and the judge were trained: the frozen networks that losses and metrics ask."""

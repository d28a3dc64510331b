"""Field lines: what they cost, and how well they agree with physics."""

"""Where workers are, for the consoles of this process."""

"""Who gets better."""

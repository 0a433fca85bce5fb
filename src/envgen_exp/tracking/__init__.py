"""What a run writes down and shows while it goes on: the logs, their published view and the terminal."""

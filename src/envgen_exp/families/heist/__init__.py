"""procgen's Heist (Cobbe et al. 2020): the stock game as the original, and designed mazes put into the same game."""

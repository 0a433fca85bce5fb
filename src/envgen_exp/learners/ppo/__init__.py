"""The agent that learns: networks, rollouts, PPO and evaluation; it knows a game only through `families.vector`."""

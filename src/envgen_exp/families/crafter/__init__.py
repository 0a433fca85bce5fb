"""Crafter (Hafner 2021): its designs, its rules and two engines that play the same game."""

"""Closed loop: somebody who reads labels from frames drives by what he reads, and what happens to him is counted."""

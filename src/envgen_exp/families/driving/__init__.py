"""Highway driving: labelled pictures of scenes that a designer sets, after Martinez et al. 2017 (arXiv 1712.01397)."""

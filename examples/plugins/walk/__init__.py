"""A package of plug-ins, a file each: family.py, designer.py, learner.py, network.py."""

"""A small open language model that runs on this machine's processor, in a process of its own."""

"""EnvGen experiments: a language model designs the environments a small agent trains in."""

__version__ = "0.1.0"

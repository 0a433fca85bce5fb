"""The errors a user can meet, drawn as a tree.

    EnvGenError                 one clear line: what, where, what is allowed
    ├── ConfigError             a value that a person wrote (Hydra)
    │   ├── ArgumentError       a keyword argument that a call has not; also a TypeError
    │   └── SecretError         a key typed where it would land in a file
    ├── DesignError             a design that is not one, or can't be met
    ├── EngineError             a wrong call to an engine: buffers, actions, closed
    │   └── StateError          state bytes that are damaged or from another version
    ├── EngineFailure           an engine failed in the middle of a call (exit status 1)
    ├── LLMError                the language model could not be used
    │   ├── MissingKeyError     no key in the environment
    │   ├── BudgetError         a cap on calls or dollars
    │   ├── ReplayError         a request that the recorded run did not make
    │   └── UnavailableError    retries are used up, or the server refuses
    ├── RunFolderError          a folder that is no run, can't be written, or belongs to another run
    │   ├── IdentityError       resume with another configuration
    │   └── LockError           another process is in the folder
    ├── CheckpointError         damaged or foreign checkpoint
    ├── NumericsError           a loss that is not a number (exit status 1)
    └── MemoryFullError         no memory left (exit status 1)

`exit_status` is what `run.py` ends with: 2 for what a person can mend by typing something else,
1 for what went wrong in a run that had started.
"""

from __future__ import annotations


class EnvGenError(Exception):
    """Base of all errors that are shown as one line, without a traceback."""

    exit_status = 2


class ConfigError(EnvGenError):
    """A configuration value that is refused before anything is written."""


class ArgumentError(ConfigError, TypeError):
    """A keyword argument that there is not; who probes for arguments expects Python's own kind of error."""


class SecretError(ConfigError):
    """A secret was typed where it would be written to disk."""


class DesignError(EnvGenError):
    """A design with unknown settings or values, or one that no world can meet."""


class EngineError(EnvGenError):
    """An engine was called wrongly; the game has not changed."""


class StateError(EngineError):
    """State bytes are damaged, cut short or of another version."""


class EngineFailure(EnvGenError):  # noqa: N818  an EngineError is the caller's fault
    """An engine failed in the middle of a call: its games are lost, and it refuses every further call."""

    exit_status = 1


class LLMError(EnvGenError):
    """The language model could not be used."""


class MissingKeyError(LLMError):
    """The provider's key is not in the environment."""


class BudgetError(LLMError):
    """A cap on calls or dollars forbids the next request."""

    exit_status = 1


class ReplayError(LLMError):
    """A request differs from the recorded one."""


class UnavailableError(LLMError):
    """The server refused, or every allowed attempt failed."""

    exit_status = 1


class RunFolderError(EnvGenError):
    """A folder that is no run, can't be written, or is full."""


class IdentityError(RunFolderError):
    """A resumed run was given another configuration."""


class LockError(RunFolderError):
    """Another living process works in this folder."""


class CheckpointError(EnvGenError):
    """A checkpoint is damaged or of another version."""


class NumericsError(EnvGenError):
    """A loss or gradient is NaN or infinite."""

    exit_status = 1


class MemoryFullError(EnvGenError):
    """The machine or the device has no memory left."""

    exit_status = 1

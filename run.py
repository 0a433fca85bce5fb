"""The command: `python run.py llm=gpt4 env=crafter cycles=4`; `python run.py --help` lists what can be typed."""

import sys

try:
    from envgen_exp.commands.cli import main
except ModuleNotFoundError as error:
    sys.exit(
        f"envgen: error: {sys.executable} has no {error.name}: `make install` puts all that is needed into .venv, "
        "then type .venv/bin/python run.py"
    )
except (ImportError, MemoryError, OSError) as error:
    print(f"envgen: error: what is needed can't be loaded, memory may be short (ulimit -v): {error!r}", file=sys.stderr)
    sys.exit(1)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

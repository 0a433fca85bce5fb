"""The command: `python run.py llm=gpt4 env=crafter cycles=4`; `python run.py --help` lists what can be typed."""

import sys

try:
    from envgen_exp.cli import main
except ModuleNotFoundError as error:
    sys.exit(
        f"envgen: error: {sys.executable} has no {error.name}: `make install` puts all that is needed into .venv, "
        "then type .venv/bin/python run.py"
    )

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

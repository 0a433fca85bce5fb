"""One run: its plan, its phases, its folder."""

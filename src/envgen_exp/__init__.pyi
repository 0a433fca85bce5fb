from envgen_exp.commands.interface import Composed as Composed
from envgen_exp.commands.interface import Curve as Curve
from envgen_exp.commands.interface import LoadedRun as LoadedRun
from envgen_exp.commands.interface import compose as compose
from envgen_exp.commands.interface import load as load

__version__: str

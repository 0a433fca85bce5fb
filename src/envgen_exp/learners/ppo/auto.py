"""The built-in network that fits what is observed; the presets for a CPU have it."""

from __future__ import annotations

from envgen_exp.families.symmetry import Symmetry
from envgen_exp.learners.ppo.agent import Encoder, Spec
from envgen_exp.learners.ppo.networks import NatureEncoder, SymbolicEncoder, is_image
from envgen_exp.learners.ppo.symmetric import SymmetricEncoder
from envgen_exp.learners.ppo.tiles import TilesEncoder


class AutoEncoder(Encoder):
    """Not made itself: the equivariant network where a game says how it is mirrored, else the plain one."""

    network, symmetric = "auto", True

    @classmethod
    def fitting(cls, observation_spec: Spec, symmetry: Symmetry | None) -> type[Encoder]:
        shown = {name: spec for name, spec in observation_spec.items() if len(spec.shape) >= 2}
        if not shown:
            return SymbolicEncoder
        if symmetry is not None and shown.keys() <= symmetry.tiles.keys():
            return TilesEncoder
        if symmetry is not None and shown.keys() <= symmetry.maps.keys():
            return SymmetricEncoder
        return NatureEncoder if any(map(is_image, shown.values())) else SymbolicEncoder

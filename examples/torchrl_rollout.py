"""TorchRL's GymEnv, unmodified: its checks of specs, and a rollout of random actions in a design.

pip install '.[examples]'
python examples/torchrl_rollout.py --steps 200
"""

from __future__ import annotations

import argparse

from torchrl.envs import GymEnv, check_env_specs

import envgen_exp  # noqa: F401  registers the environments

ENV_ID = "EnvGen/Crafter-v0"
DESIGN = {"target_biome": "grassland", "tree_rarity": "very common"}


def main(steps: int, seed: int = 1) -> None:
    env = GymEnv(ENV_ID, design=DESIGN)
    check_env_specs(env)
    env.set_seed(seed)
    rollout = env.rollout(steps, break_when_any_done=False)
    assert rollout.shape == (steps,)
    assert rollout["pixels"].shape == (steps, 64, 64, 3)
    print(f"{steps} steps by TorchRL, return {rollout['next', 'reward'].sum():.1f}")
    env.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    main(parser.parse_args().steps)

"""Makes the Minari datasets of this folder: minari 0.5.4, pyarrow 26.0.1, gymnasium 1.4.0.

    pip install "minari[arrow]" pillow
    python make.py
"""

import os
import pathlib
import shutil

HERE = pathlib.Path(__file__).parent
os.environ["MINARI_DATASETS_PATH"] = str(HERE)

import gymnasium as gym  # noqa: E402
import minari  # noqa: E402
import numpy as np  # noqa: E402
from gymnasium import spaces  # noqa: E402
from minari.data_collector import EpisodeBuffer  # noqa: E402


def taxi_like(data_format):
    """Discrete to discrete, from a registered environment, with seeds, infos and both ends."""
    env = gym.make("FrozenLake-v1", is_slippery=False)
    episodes = []
    for seed, actions in [(3, [2, 2, 1, 1, 1, 2]), (4, [0, 0, 3])]:
        state, info = env.reset(seed=seed)
        states, rewards, ends, cuts = [state], [], [], []
        infos = {"prob": [float(info["prob"])]}
        for step, action in enumerate(actions):
            state, reward, end, _, info = env.step(action)
            states.append(state)
            rewards.append(reward)
            ends.append(end)
            cuts.append(not end and step + 1 == len(actions))
            infos["prob"].append(float(info["prob"]))
        episodes.append(EpisodeBuffer(seed=seed, observations=states, actions=actions, rewards=rewards,
                                      terminations=ends, truncations=cuts, infos=infos))
    minari.create_dataset_from_buffers(f"lake/{data_format}-v0", episodes, env=env, algorithm_name="by hand",
                                       data_format=data_format)


def nested(data_format):
    """A dictionary of text, grid and numbers, answered with text."""
    observation_space = spaces.Dict({
        "mission": spaces.Text(64),
        "grid": spaces.Box(0, 9, (2, 2), np.uint8),
        "position": spaces.Box(-1.0, 1.0, (2,), np.float32),
        "pair": spaces.Tuple((spaces.Discrete(4), spaces.MultiBinary(2))),
    })
    episode = EpisodeBuffer(
        observations={
            "mission": ["go to the red door", "go to the red door", "open it"],
            "grid": [np.array([[0, 1], [2, 3]], np.uint8), np.array([[4, 5], [6, 7]], np.uint8),
                     np.array([[8, 9], [0, 0]], np.uint8)],
            "position": [np.array([0.1, -0.5], np.float32), np.array([0.2, 0.0], np.float32),
                         np.array([1.0, 1.0], np.float32)],
            "pair": ([0, 1, 2], [np.array([0, 1], np.int8), np.array([1, 1], np.int8), np.array([0, 0], np.int8)]),
        },
        actions=["forward", "toggle\n"],
        rewards=[-0.25, 1.0],
        terminations=[False, True],
        truncations=[False, False],
    )
    minari.create_dataset_from_buffers(f"door/{data_format}-v0", [episode], observation_space=observation_space,
                                       action_space=spaces.Text(16), data_format=data_format)


def screen(data_format):
    """Pictures, which are no text."""
    space = spaces.Box(0, 255, (32, 32), np.uint8)
    episode = EpisodeBuffer(observations=[np.zeros((32, 32), np.uint8)] * 2, actions=[1], rewards=[0.0],
                            terminations=[True], truncations=[False])
    minari.create_dataset_from_buffers(f"screen/{data_format}-v0", [episode], observation_space=space,
                                       action_space=spaces.Discrete(3), data_format=data_format)


for folder in ["lake", "door", "screen"]:
    shutil.rmtree(HERE / folder, ignore_errors=True)
for data_format in ["arrow", "parquet"]:
    taxi_like(data_format)
    nested(data_format)
screen("parquet")

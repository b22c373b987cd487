"""A comparison as a run makes it, of synthetic rewards: the values trade off, MVA's front lies a little higher."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mva_ray.compare.results import (
    AdapterInterference,
    AlphaResult,
    Candidate,
    ComparisonResult,
    MethodResult,
    ModuleInterference,
    Rewards,
    SingleResult,
)

METHODS = {
    "mva": ("MVA", 0.06, 10),
    "mva_no_hsic": ("MVA without HSIC", 0.03, 10),
    "mva_convex": ("MVA without extrapolation", 0.02, 5),
    "orthogonal": ("MVA, orthogonality", 0.04, 10),
    "soup": ("SOUP", 0.0, 5),
    "vc_soup": ("VC-Soup", -0.02, 5),
    "dpo_lw": ("DPO-LW", -0.05, 3),
    "dpo_seqt": ("DPO-SeqT", -0.2, 1),
    "modpo": ("MODPO", -0.08, 3),
}
SCALES = ((-3.5, 1.7), (1.2, 8.5), (0.0, 0.5), (10.0, 3.0))
"""Lowest mean and range of the values: brief, thorough, positive, plain."""
TYPES = ("q_proj", "k_proj", "v_proj", "o_proj")


class Maker:
    def __init__(self, values: Sequence[str], prompts: int, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.values = values
        self.hardness = self.random.normal(scale=0.3, size=(len(values), prompts))

    def rewards(self, place: NDArray[np.float64]) -> Rewards:
        """Per-prompt rewards around a place in the unit cube."""
        noise = self.hardness + self.random.normal(scale=0.15, size=self.hardness.shape)
        table = place[:, None] + noise
        return {
            value: [round(float(low + span * unit), 4) for unit in row]
            for value, row, (low, span) in zip(self.values, table, SCALES, strict=False)
        }

    def candidate(self, share: float, lift: float) -> Candidate:
        """Where `share` goes to the first value and the rest to the others; the front bulges outwards."""
        parts = np.array([share, *[(1 - share) / (len(self.values) - 1)] * (len(self.values) - 1)])
        parts = parts * (1 + 0.1 * self.random.normal(size=parts.size))
        place = np.sqrt(parts.clip(0)) * (1 + lift) * (1 + 0.03 * self.random.normal())
        rewards = self.rewards(place)
        return Candidate(
            label="/".join(f"{part:.2f}" for part in parts),
            coefficients=dict(zip(self.values, map(float, parts), strict=True)),
            rewards=rewards,
            completions=[f"answer {share:.2f} {lift} to {index}" for index in range(self.hardness.shape[1])],
        )

    def method(self, name: str, seed: int) -> MethodResult:
        title, lift, n = METHODS[name]
        shares = np.linspace(0, 1, n) if n > 1 else [0.5]
        return MethodResult(
            name=name,
            title=title,
            description=f"What {title} does.",
            seed=seed,
            candidates=[self.candidate(float(share), lift + 0.02 * self.random.normal()) for share in shares],
            training_seconds=120.0 * (n if n < 5 else 2),
            evaluations=2 * n,
        )


def make_result(values: Sequence[str] = ("brief", "thorough"), prompts: int = 40, layers: int = 30) -> ComparisonResult:
    maker, seeds = Maker(values, prompts, 0), [11, 12, 13]
    return ComparisonResult(
        name="smollm2",
        base_model="HuggingFaceTB/SmolLM2-135M-Instruct",
        command="mva-ray compare --config tune_configs/compare.yaml",
        values=list(values),
        seeds=seeds,
        prompts=[f"prompt {index}" for index in range(prompts)],
        prompts_hash="0123456789abcdef",
        baselines=["soup", "mva_no_hsic"],
        base=maker.rewards(np.full(len(values), 0.35)),
        methods=[maker.method(name, seed) for seed in seeds for name in METHODS],
        singles=[
            SingleResult(
                penalty=penalty, value=value, seed=seed, rewards=maker.rewards(np.eye(len(values))[index] + at)
            )
            for penalty, at in (("none", 0.0), ("paper", 0.01), ("hsic", -0.02))
            for index, value in enumerate(values)
            for seed in seeds
        ],
        interference=[
            _interference(maker.random, penalty, at, seed, list(values[:2]), layers)
            for penalty, at in (("none", 0.12), ("paper", 0.11), ("hsic", 0.01))
            for seed in seeds
        ],
        alphas=[
            AlphaResult(
                penalty=penalty,
                alpha=alpha,
                seed=seed,
                cosine=0.12 / (1 + alpha * strength),
                cka=0.2 / (1 + alpha * strength) + 0.01 * maker.random.normal(),
                own=maker.rewards(np.full(len(values), 0.9 - 0.01 * alpha)),
                candidates=[maker.candidate(float(share), 0.02 - 0.002 * alpha) for share in np.linspace(0, 1, 5)],
            )
            for penalty, strength in (("paper", 0.02), ("hsic", 2.0))
            for alpha in (0, 0.1, 1, 10)
            for seed in seeds
        ],
    )


def _interference(
    random: np.random.Generator, penalty: str, at: float, seed: int, pair: list[str], layers: int
) -> AdapterInterference:
    modules = [
        ModuleInterference(
            module=f"model.layers.{layer}.self_attn.{kind}",
            layer=layer,
            type=kind,
            cosine=float(at * (1 + layer / layers) + 0.02 * random.normal()),
            cka=float(1.5 * at * (1 + layer / layers) + 0.03 * random.normal()),
        )
        for layer in range(layers)
        for kind in TYPES
    ]
    return AdapterInterference(penalty=penalty, seed=seed, first=pair[0], second=pair[1], modules=modules)

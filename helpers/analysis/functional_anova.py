"""Functional ANOVA: shares of a metric's variance, with intervals that hold for few trials as well.

The metric is a mean, a function of each parameter, a function of each pair of parameters and a rest. Functions are sums of
the orthonormal ones of `scales`, so the squared coefficients are variances over the searched space, whatever places the
trials took in it. Each function's size has a half-Cauchy prior of its own, and the size of the rest another: what the trials
do not tell stays small or wide. A Gibbs sampler draws coefficients and sizes in several chains.

In every chain a few parameters stand a second time, their values shuffled among the trials. Such a shadow cannot matter:
what share it is given is what a parameter without any effect reaches. References: Hutter, Hoos, Leyton-Brown 2014
(functional ANOVA of hyperparameters); Durrande et al. 2013 (ANOVA kernels); Carvalho, Polson, Scott 2010 (half-Cauchy sizes);
Kursa, Rudnicki 2010 (shadows).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from helpers.analysis.scales import Scale

PAIRED = 240  # functions of pairs together, at least one of each pair
SHADOWS = 5  # shuffled parameters in a chain
MANY = 80  # trials, from which on fewer draws do
# scales of the half-Cauchy priors; the metric's standard deviation is 1
MAIN_SIZE = 0.5
PAIR_SIZE = 0.05
MEAN_SIZE = 3.0
LEVEL = 0.95  # of the shadows stay below the level
# variances, so that nothing is divided by 0
LEAST_SIZE = 1e-10
LEAST_REST = 1e-6
# steps of the sampler
BAG_BURNED = 40
BAG_KEPT = 60
BAG = 0.632  # of the trials are fitted for the out-of-bag R2, as a resample with replacement has


@dataclass(frozen=True)
class Shares:
    """Draws of the shares of the variance; in a draw they sum to 1."""

    mains: np.ndarray  # of each parameter alone. [draws, parameters]
    pairs: np.ndarray  # of all pairs together. [draws]
    rest: np.ndarray  # noise, and what more than two parameters do together. [draws]
    level: float  # share that a parameter without effect reaches in 1 of 20
    out_of_bag: float  # R2 of predictions for trials that were left out of the fit


@dataclass(frozen=True)
class _Design:
    """Functions of the trials in groups, each with a size of its own."""

    columns: np.ndarray  # [trials, columns]
    variances: np.ndarray  # prior ones, relative to the group's size. [decays, columns]
    group: np.ndarray  # of each column. [columns]
    sizes: np.ndarray  # scales of the prior. [groups]


def variance_shares(scales: Sequence[Scale], values: np.ndarray, seed: int, resamples: int) -> Shares:
    """Estimate the shares of the variance over the searched space.

    Args:
        scales: One per parameter.
        values: The metric, one per trial; they differ. [trials]
        seed: Of all draws.
        resamples: For the out-of-bag R2.
    """
    generator = np.random.default_rng(seed)
    values = np.ldexp(values, -int(np.frexp(np.abs(values).max())[1]))  # squares of 1e200 are infinite, of 1e-200 zero
    target = (values - values.mean()) / values.std()
    chains, burned, kept = (10, 120, 160) if len(values) < MANY else (5, 80, 100)
    real = _design(scales)
    count = len(scales)
    groups = len(real.sizes)
    picked = generator.permutation(count)[:SHADOWS]
    designs = [_with_shadows(real, [scales[i] for i in picked], generator) for _ in range(chains)]
    sampler = _Sampler(np.stack([one.columns for one in designs]), np.tile(target, (chains, 1)), designs[0], generator)
    energies, rests, states = sampler.run(burned, kept)
    mains = energies[..., :count]
    pairs = energies[..., count : groups - 1].sum(-1)
    shadows = energies[..., groups:]
    rest = rests + shadows.sum(-1)  # a shadow explains noise
    total = mains.sum(-1) + pairs + rest
    reached = (shadows / total[..., None]).mean(axis=0)  # [chains, shadows]
    return Shares(
        mains=(mains / total[..., None]).reshape(-1, count),
        pairs=(pairs / total).ravel(),
        rest=(rest / total).ravel(),
        level=float(np.quantile(reached, LEVEL)),
        out_of_bag=_out_of_bag(real, target, states if len(values) >= MANY else None, generator, resamples),
    )


def _design(scales: Sequence[Scale]) -> _Design:
    """Columns of the parameters, of their pairs and of the mean, which is the last group."""
    columns = [scale.functions for scale in scales]
    variances = [scale.variances for scale in scales]
    sizes = [MAIN_SIZE] * len(scales)
    pairs = [(i, j) for i in range(len(scales)) for j in range(i)]
    each = max(1, PAIRED // max(len(pairs), 1))
    for i, j in pairs:
        one = scales[i]
        other = scales[j]
        joint = (one.variances[:, :, None] * other.variances[:, None, :]).reshape(len(one.variances), -1)
        chosen = np.argsort(-joint[0], kind="stable")[:each]
        products = (one.functions[:, :, None] * other.functions[:, None, :]).reshape(len(one.functions), -1)
        columns.append(products[:, chosen])
        variances.append(joint[:, chosen] / joint[:, chosen].sum(axis=1, keepdims=True))
        sizes.append(PAIR_SIZE)
    columns.append(np.ones((len(columns[0]), 1)))
    variances.append(np.ones((len(variances[0]), 1)))
    group = np.repeat(np.arange(len(columns)), [part.shape[1] for part in columns])
    return _Design(np.hstack(columns), np.hstack(variances), group, np.array([*sizes, MEAN_SIZE]))


def _with_shadows(real: _Design, scales: Sequence[Scale], generator: np.random.Generator) -> _Design:
    columns = [real.columns]
    variances = [real.variances]
    group = [real.group]
    sizes = list(real.sizes)
    for scale in scales:
        columns.append(scale.functions[generator.permutation(len(scale.functions))])
        variances.append(scale.variances)
        group.append(np.full(scale.functions.shape[1], len(sizes)))
        sizes.append(MAIN_SIZE)
    return _Design(np.hstack(columns), np.hstack(variances), np.concatenate(group), np.array(sizes))


class _Sampler:
    """Gibbs sampler of several chains side by side.

    Args:
        columns: [chains, trials, columns]
        target: Standardised metric. [chains, trials]
        design: Groups of the columns and their prior.
        generator: Of all draws.
    """

    def __init__(
        self, columns: np.ndarray, target: np.ndarray, design: _Design, generator: np.random.Generator
    ) -> None:
        self.columns = columns
        self.target = target
        self.generator = generator
        self.group = design.group
        self.scales = design.sizes
        self.variances = design.variances
        self.members = np.equal.outer(design.group, np.arange(len(design.sizes))).astype(float)  # [columns, groups]
        self.counts = self.members.sum(axis=0)
        self.log_variances = np.log(design.variances) @ self.members  # [decays, groups]
        self.means = np.zeros((len(columns), len(design.group)))  # of the coefficients drawn last. [chains, columns]
        self.many = self.columns.shape[1] >= self.columns.shape[2]  # more trials than columns
        if self.many:
            self.gram = self.columns.transpose(0, 2, 1) @ self.columns
            self.products = (self.columns.transpose(0, 2, 1) @ target[..., None])[..., 0]

    def run(self, burned: int, kept: int) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, float]]]:
        """Draw.

        Returns:
            Variances of the groups [kept, chains, groups], of the rest [kept, chains], and some states: prior variances of
            the columns [columns] with the variance of the rest.
        """
        chains = len(self.columns)
        generator = self.generator
        sizes = np.tile(self.scales**2, (chains, 1))
        helping = np.ones_like(sizes)  # auxiliary variables that make half-Cauchy draws of inverse-gamma ones
        rest = np.full(chains, 0.5)
        helping_rest = np.ones(chains)
        relative = np.tile(self.variances[1], (chains, 1))
        energies = []
        rests = []
        states = []
        self.means = np.zeros_like(relative)
        for step in range(burned + kept):
            prior = relative * sizes[:, self.group]
            coefficients = self._coefficients(prior, rest)
            squares = coefficients**2
            relative = self._relative(squares / sizes[:, self.group])
            rates = 1 / helping + 0.5 * (squares / relative) @ self.members
            sizes = np.maximum(rates / generator.gamma(0.5 * (self.counts + 1), size=sizes.shape), LEAST_SIZE)
            helping = (1 / self.scales**2 + 1 / sizes) / generator.gamma(1.0, size=sizes.shape)
            missed = self.target - (self.columns @ coefficients[..., None])[..., 0]
            rates_rest = 1 / helping_rest + 0.5 * (missed**2).sum(axis=1)
            shape = 0.5 * (self.target.shape[1] + 1)
            rest = np.maximum(rates_rest / generator.gamma(shape, size=chains), LEAST_REST)
            helping_rest = (1 + 1 / rest) / generator.gamma(1.0, size=chains)
            if step >= burned:
                energies.append(squares @ self.members)
                rests.append(rest)
                self.means += coefficients / kept
                if (step - burned) % 10 == 0:
                    states += [(prior[chain], float(rest[chain])) for chain in range(chains)]
        return np.array(energies), np.array(rests), states

    def _relative(self, scaled: np.ndarray) -> np.ndarray:
        """Draw how fast each group's variances fall.

        Args:
            scaled: Squared coefficients by the size of their group. [chains, columns]

        Returns:
            Prior variances relative to the size. [chains, columns]
        """
        fits = np.stack([(scaled / row) @ self.members for row in self.variances], axis=1)  # [chains, decays, groups]
        scores = -0.5 * (self.log_variances + fits)
        drawn = (scores + self.generator.gumbel(size=scores.shape)).argmax(axis=1)  # [chains, groups]
        return self.variances[drawn[:, self.group], np.arange(len(self.group))]

    def _coefficients(self, prior: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """Draw coefficients from their normal distribution given all else.

        Args:
            prior: Variances. [chains, columns]
            rest: Variance. [chains]
        """
        if self.many:
            return np.stack([self._of_chain(i, prior[i], rest[i]) for i in range(len(prior))])
        # Bhattacharya, Chakraborty, Mallick 2016: by the number of trials.
        chains, trials, _ = self.columns.shape
        noise = np.sqrt(rest)[:, None]
        weighted = self.columns * prior[:, None, :]
        system = weighted @ self.columns.transpose(0, 2, 1) / rest[:, None, None]
        system[:, np.arange(trials), np.arange(trials)] += 1
        drawn = self.generator.standard_normal(prior.shape) * np.sqrt(prior)
        shifted = (self.columns @ drawn[..., None])[..., 0] / noise
        shifted += self.generator.standard_normal((chains, trials))
        solved = np.linalg.solve(system, (self.target / noise - shifted)[..., None])[..., 0]
        return drawn + (solved[:, None, :] @ weighted)[:, 0] / noise

    def _of_chain(self, chain: int, prior: np.ndarray, rest: float) -> np.ndarray:
        precision = self.gram[chain] / rest
        precision.flat[:: len(prior) + 1] += 1 / np.maximum(prior, LEAST_SIZE)
        factor = np.linalg.cholesky(precision)
        half = solve_triangular(factor, self.products[chain] / rest, lower=True, check_finite=False)
        half += self.generator.standard_normal(len(prior))
        return solve_triangular(factor, half, lower=True, trans=1, check_finite=False)


def _out_of_bag(
    real: _Design,
    target: np.ndarray,
    states: Sequence[tuple[np.ndarray, float]] | None,
    generator: np.random.Generator,
    resamples: int,
) -> float:
    """R2 of what the model says of trials that were left out; predictions are means over the resamples.

    Args:
        real: Without shadows.
        target: Standardised metric. [trials]
        states: Of the sampler, of which each resample takes one: sizes that all trials chose. None: each resample draws
            sizes of its own, which with few trials makes a difference.
        generator: Of the resamples.
        resamples: How many.
    """
    trials = len(target)
    inside = min(trials - 1, max(2, round(BAG * trials)))
    orders = np.stack([generator.permutation(trials) for _ in range(resamples)])
    bags = orders[:, :inside]
    outside = orders[:, inside:]
    sums = np.zeros(trials)
    counts = np.zeros(trials)
    if states is None:
        centres = target[bags].mean(axis=1, keepdims=True)
        sampler = _Sampler(real.columns[bags], target[bags] - centres, real, generator)
        sampler.run(BAG_BURNED, BAG_KEPT)
        for left, means, centre in zip(outside, sampler.means, centres[:, 0], strict=True):
            sums[left] += real.columns[left] @ means + centre
            counts[left] += 1
    else:
        for bag, left in zip(bags, outside, strict=True):
            prior, rest = states[int(generator.integers(len(states)))]
            weighted = real.columns * prior[: real.columns.shape[1]]
            system = weighted[bag] @ real.columns[bag].T
            system.flat[:: inside + 1] += rest
            sums[left] += weighted[left] @ real.columns[bag].T @ np.linalg.solve(system, target[bag])
            counts[left] += 1
    seen = counts > 0
    missed = target[seen] - sums[seen] / counts[seen]
    spread = target[seen] - target[seen].mean()
    return float(1 - (missed @ missed) / max(spread @ spread, LEAST_REST))

"""What the interval of a gain was chosen among, simulated.

    python -m benchmarks.calibration.estimators [--runs 2000]

First table: how often six intervals of 95% hold the true gain when seeds and people are two random samples. Differences are
d[s, p] = a[s] + b[p] + e[s, p], normal, the standard deviation of e is 1, those of a and b are given. In the words of
`helpers.analysis.paired_gain`, whose interval is the last one:

- seeds: t[S-1] SE_seeds
- sum, sum less rest: the t of Satterthwaite's degrees of freedom times the root of SE_seeds^2 + SE_people^2, less SE_rest^2 for
  the second (Satterthwaite, Biometrics Bulletin 2, 1946)
- larger: the larger one of the two half-widths t[S-1] SE_seeds and t[P-1] SE_people
- quadrature less rest: both half-widths in quadrature, the people's with SE_people^2 - SE_rest^2
- quadrature: the same, with the whole SE_people^2 where people are few

Second table: how much narrower intervals with a joint critical value of k candidates against one baseline would be than with
Bonferroni's. The joint value is the 95% quantile of the largest |t|, each with its candidate's own variance (after Dunnett,
Journal of the American Statistical Association 50, 1955, who pools the variances).

Third table: how often Student's t of the seeds, and the bootstrap that it replaced, hold the true gain when differences are
strongly skewed (log-normal, sigma 1) and people agree.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
from scipy.special import stdtrit

from benchmarks.calibration.worlds import Floats, covers, gain_of, percentile_bootstrap, skewed
from helpers.analysis.paired_gain import corrected_level

SEEDS = (3, 5, 10)
PEOPLE = (2, 4, 8, 15, 40)
SEED_SDS = (0.1, 1.0)
PERSON_SDS = (0.0, 0.3, 0.6, 1.0, 2.0, 3.0)
CANDIDATES = (3, 5)
UPPER = 0.975
NAMES = ("seeds", "sum", "sum less rest", "larger", "quadrature less rest", "quadrature")


def half_widths(differences: Floats) -> Floats:
    """Half-widths of the first five intervals. [runs, S, P] -> [5, runs]."""
    _, seeds, people = differences.shape
    by_seed = differences.mean(axis=2)
    by_person = differences.mean(axis=1)
    mean = by_seed.mean(axis=1)
    residual = differences - by_seed[:, :, None] - by_person[:, None, :] + mean[:, None, None]
    # Squared standard errors.
    of_seeds = by_seed.var(axis=1, ddof=1) / seeds
    of_people = by_person.var(axis=1, ddof=1) / people
    of_rest = (residual**2).sum(axis=(1, 2)) / ((seeds - 1) * (people - 1) * seeds * people)
    total = of_seeds + of_people
    less_rest = np.maximum(total - of_rest, of_seeds)
    parts = of_seeds**2 / (seeds - 1) + of_people**2 / (people - 1)
    rest_part = of_rest**2 / ((seeds - 1) * (people - 1))
    alone = stdtrit(seeds - 1, UPPER) * np.sqrt(of_seeds)
    by_people = stdtrit(people - 1, UPPER)
    return np.stack(
        [
            alone,
            stdtrit(total**2 / parts, UPPER) * np.sqrt(total),
            stdtrit(np.maximum(less_rest**2 / (parts + rest_part), 1.0), UPPER) * np.sqrt(less_rest),
            np.maximum(alone, by_people * np.sqrt(of_people)),
            np.hypot(alone, by_people * np.sqrt(np.maximum(of_people - of_rest, 0.0))),
        ]
    )


def coverage(
    generator: np.random.Generator, runs: int, shape: tuple[int, int], seed_sd: float, person_sd: float
) -> Floats:
    """Share of simulated differences whose interval holds the truth, by interval as in `NAMES`. [6].

    Args:
        generator: Of the differences.
        runs: How many confirmations.
        shape: Seeds and people of each.
        seed_sd: Standard deviation between seeds.
        person_sd: Between people.
    """
    seeds, people = shape
    draw = generator.standard_normal
    differences = seed_sd * draw((runs, seeds, 1)) + person_sd * draw((runs, 1, people)) + draw((runs, seeds, people))
    held = np.abs(differences.mean(axis=(1, 2))) <= half_widths(differences)
    own = np.array([covers(gain_of(one)) for one in differences])
    return np.append(held.mean(axis=1), own.mean())


def joint_gain(generator: np.random.Generator, runs: int, candidates: int, seeds: int) -> float:
    """Share by which a joint critical value is below Bonferroni's."""
    losses = generator.standard_normal((runs, candidates + 1, seeds))
    differences = losses[:, 1:] - losses[:, :1]
    t = differences.mean(axis=2) / (differences.std(axis=2, ddof=1) / np.sqrt(seeds))
    joint = np.quantile(np.abs(t).max(axis=1), 0.95)
    return float(1 - joint / stdtrit(seeds - 1, 0.5 + corrected_level(candidates) / 2))


def skewed_coverage(generator: np.random.Generator, runs: int, seeds: int) -> tuple[float, float]:
    """Shares of skewed differences whose interval by t and by bootstrap holds the truth."""
    by_t = 0
    by_bootstrap = 0
    for _ in range(runs):
        differences = skewed(generator, (seeds, 1), sigma=1.0)
        by_t += covers(gain_of(differences))
        low, high = percentile_bootstrap(generator, differences[:, 0])
        by_bootstrap += low <= 0 <= high
    return by_t / runs, by_bootstrap / runs


def main(arguments: list[str] | None = None) -> None:
    """Simulate and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="simulated confirmations per combination")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    generator = np.random.default_rng(given.seed)
    print("| seeds' sd | people's sd | " + " | ".join(NAMES) + " |\n|" + "---|" * (len(NAMES) + 2))
    every = []
    for seed_sd, person_sd in itertools.product(SEED_SDS, PERSON_SDS):
        shares = [
            coverage(generator, given.runs, shape, seed_sd, person_sd) for shape in itertools.product(SEEDS, PEOPLE)
        ]
        every.extend(shares)
        cells = " | ".join(_span(column) for column in np.transpose(shares))
        print(f"| {seed_sd:g} | {person_sd:g} | {cells} |", flush=True)
    print("| all | all | " + " | ".join(_span(column) for column in np.transpose(every)) + " |")
    print("\n| candidates | seeds | joint critical value below Bonferroni's by |\n|---|---|---|")
    for candidates, seeds in itertools.product(CANDIDATES, SEEDS):
        print(f"| {candidates} | {seeds} | {joint_gain(generator, 100 * given.runs, candidates, seeds):.1%} |")
    print("\n| skewed differences, seeds | Student's t | bootstrap |\n|---|---|---|")
    for seeds in SEEDS:
        print(
            f"| {seeds} | "
            + " | ".join(f"{share:.3f}" for share in skewed_coverage(generator, given.runs, seeds))
            + " |"
        )


def _span(shares: Floats) -> str:
    return f"{shares.min():.3f} to {shares.max():.3f}"


if __name__ == "__main__":
    main()

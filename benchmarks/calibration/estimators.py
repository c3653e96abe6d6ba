"""What the interval of a gain was chosen among, simulated.

    python -m benchmarks.calibration.estimators [--runs 2000]

First table: how often five intervals of 95% hold the true gain when seeds and people are two random samples. Differences are
d[s, p] = a[s] + b[p] + e[s, p], normal, the standard deviation of a and e is 1, that of b is given. In the words of
`helpers.analysis.paired_gain`, whose interval is the last one:

- seeds: t[S-1] SE_seeds
- sum, sum less rest: the t of Satterthwaite's degrees of freedom times the root of SE_seeds^2 + SE_people^2, less SE_rest^2 for
  the second (Satterthwaite, Biometrics Bulletin 2, 1946)
- larger: the larger one of the two half-widths t[S-1] SE_seeds and t[P-1] SE_people
- quadrature: both half-widths in quadrature, the people's less what the rest explains

Second table: how much narrower intervals with a joint critical value of k candidates against one baseline would be than with
Bonferroni's. The joint value is the 95% quantile of the largest |t|, each with its candidate's own variance (after Dunnett,
Journal of the American Statistical Association 50, 1955, who pools the variances).
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
from scipy.special import stdtrit

from benchmarks.calibration.worlds import Floats, covers, gain_of
from helpers.analysis.paired_gain import corrected_level

SEEDS = (3, 5, 10)
PEOPLE = (4, 8, 15)
PERSON_SDS = (0.0, 0.3, 0.6, 1.0, 2.0, 3.0)
CANDIDATES = (3, 5)
UPPER = 0.975
NAMES = ("seeds", "sum", "sum less rest", "larger", "quadrature")


def half_widths(differences: Floats) -> Floats:
    """Half-widths of the first four intervals. [runs, S, P] -> [4, runs]."""
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
    return np.stack(
        [
            alone,
            stdtrit(total**2 / parts, UPPER) * np.sqrt(total),
            stdtrit(np.maximum(less_rest**2 / (parts + rest_part), 1.0), UPPER) * np.sqrt(less_rest),
            np.maximum(alone, stdtrit(people - 1, UPPER) * np.sqrt(of_people)),
        ]
    )


def coverage(generator: np.random.Generator, runs: int, seeds: int, people: int, person_sd: float) -> Floats:
    """Share of simulated differences whose interval holds the truth, by interval as in `NAMES`. [5]."""
    draw = generator.standard_normal
    differences = draw((runs, seeds, 1)) + person_sd * draw((runs, 1, people)) + draw((runs, seeds, people))
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


def main(arguments: list[str] | None = None) -> None:
    """Simulate and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="simulated confirmations per combination")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    generator = np.random.default_rng(given.seed)
    print("| people's sd | " + " | ".join(NAMES) + " |\n|" + "---|" * (len(NAMES) + 1))
    every = []
    for person_sd in PERSON_SDS:
        shares = [
            coverage(generator, given.runs, seeds, people, person_sd)
            for seeds, people in itertools.product(SEEDS, PEOPLE)
        ]
        every.extend(shares)
        print(f"| {person_sd:g} | " + " | ".join(_span(column) for column in np.transpose(shares)) + " |", flush=True)
    print("| all | " + " | ".join(_span(column) for column in np.transpose(every)) + " |")
    print("\n| candidates | seeds | joint critical value below Bonferroni's by |\n|---|---|---|")
    for candidates, seeds in itertools.product(CANDIDATES, SEEDS):
        print(f"| {candidates} | {seeds} | {joint_gain(generator, 100 * given.runs, candidates, seeds):.1%} |")


def _span(shares: Floats) -> str:
    return f"{shares.min():.3f} to {shares.max():.3f}"


if __name__ == "__main__":
    main()

"""The exact (Clopper–Pearson) interval of a proportion, for counts too small for a normal approximation."""

from __future__ import annotations


def binomial_interval(successes: float, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of the success probability; (0, 1) where nothing was tried.

    Args:
        successes: 0 … `trials`; a fraction is allowed, as ties leave halves.
        trials: number of independent trials.
        level: confidence, such as 0.95.
    """
    from scipy.stats import beta  # takes seconds to import, in each new process of a site

    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(beta.ppf(tail, successes, trials - successes + 1))
    high = 1.0 if successes == trials else float(beta.ppf(1 - tail, successes + 1, trials - successes))
    return low, high

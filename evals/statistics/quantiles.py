"""Quantiles and tails of distributions: scipy's, imported when the first is asked for, for that takes a while."""


def normal(p: float) -> float:
    """The value that a standard normal variable stays below with probability p."""
    from scipy.special import ndtri

    return float(ndtri(p))


def student(p: float, freedom: float) -> float:
    """The value that Student's t of so many degrees of freedom stays below with probability p."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, p))


def binomial(hits: int, n: int, p: float) -> float:
    """The probability of at most so many hits in n trials of probability p."""
    from scipy.special import bdtr

    return float(bdtr(hits, n, p))

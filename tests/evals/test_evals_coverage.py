"""The interval of a perplexity covers the truth: the benchmark in small, with fixed seeds."""

import numpy as np

from benchmarks.interval_coverage import MEAN, Source, by_blocks, by_pairs, by_percentile, by_t, process, tiny_model

RESAMPLES = 200
SOURCES = (Source(12, 0.1), Source(60, 0.5), Source(140, 1), Source(140, 2), Source(300, 4))


def held(method, source):
    """Whether the method's interval holds the truth, for each of many texts."""
    random = np.random.default_rng([7, source.windows, int(10 * source.document)])
    intervals = [method(process(random, source)) for _ in range(RESAMPLES)]
    return [low <= MEAN <= high for low, high in intervals]


def test_the_interval_of_a_text_holds_the_truth_in_93_to_97_of_100():
    shares = [np.mean(held(by_blocks, source)) for source in SOURCES]
    assert 0.93 <= np.mean(shares) <= 0.97
    assert min(shares) >= 0.92 and max(shares) <= 0.98


def test_windows_taken_for_independent_and_percentiles_fall_short():
    assert np.mean(held(by_t, Source(140, 2))) < 0.9
    assert np.mean(held(by_percentile, Source(140, 2))) < 0.93


def test_the_interval_of_a_difference_holds_the_truth():
    random = np.random.default_rng(4)
    found = []
    for source in (Source(12, 0.1), Source(60, 0.5), Source(140, 1)):
        for _ in range(RESAMPLES):
            first = process(random, source)
            low, high = by_pairs(first, first + 0.2 * process(random, source, mean=0.25))
            found.append(low <= 0.05 <= high)
    assert 0.93 <= np.mean(found) <= 0.97


def test_damage_makes_another_model_of_the_same_size():
    whole, damaged = tiny_model(), tiny_model(damage=0.05)
    pairs = zip(whole.parameters(), damaged.parameters(), strict=True)
    assert any((one != other).any() for one, other in pairs)

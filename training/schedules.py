"""Learning-rate schedules: the factor on the peak rate, from the warm-up's end (0) to the end of the run (1).

linear   straight down to zero
cosine   down to zero along half a cosine (Loshchilov and Hutter, 2017, "SGDR", equation 5, without restarts)
wsd      at the peak, then down to zero over the last fifth as 1 - sqrt (Haegele et al., 2024, "Scaling Laws and
         Compute-Optimal Training Beyond Fixed Training Durations", section 4)
"""

import math

DECAY = 0.2  # the share of wsd that falls


def linear(fraction: float) -> float:
    """From 1 to 0 in a straight line."""
    return 1 - fraction


def cosine(fraction: float) -> float:
    """From 1 to 0 along half a cosine."""
    return (1 + math.cos(math.pi * fraction)) / 2


def wsd(fraction: float) -> float:
    """1 until the last `DECAY` of the run, then to 0 as 1 - sqrt."""
    return 1 - math.sqrt(max(0.0, 1 - (1 - fraction) / DECAY))


SCHEDULES = {schedule.__name__: schedule for schedule in (linear, cosine, wsd)}


def rate_factor(schedule: str, warm_up: float, fraction: float) -> float:
    """The factor at `fraction` (0..1) of a whole run: up from 0 over the share `warm_up`, then the schedule."""
    fraction = min(fraction, 1.0)
    if fraction < warm_up:
        return fraction / warm_up
    return SCHEDULES[schedule]((fraction - warm_up) / (1 - warm_up))

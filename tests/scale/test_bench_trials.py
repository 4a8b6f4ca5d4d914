"""The measurements of ``manage.py bench --only``: what a figure has to keep, and that each one is there."""

import pytest

from migration_factory.bench.trial import TRIALS, Figure, trial


@pytest.mark.parametrize("name", TRIALS)
def test_every_trial_that_is_offered_is_there(name: str) -> None:
    assert callable(trial(name))


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Figure("x", 3.0, "times", at_least=3.0), True),
        (Figure("x", 2.9, "times", at_least=3.0), False),
        (Figure("x", 500.0, "ms", at_most=500.0), True),
        (Figure("x", 501.0, "ms", at_most=500.0), False),
        (Figure("x", 1e9, "s"), True),
    ],
)
def test_a_figure_keeps_its_bound(figure: Figure, *, met: bool) -> None:
    assert figure.met is met

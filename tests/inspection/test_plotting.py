import inspect
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from sklearn_synset import SynsetAttributor, inspection
from sklearn_synset.inspection import _plotting
from sklearn_synset.inspection._fitted_attributor import quantity_and_unit, unwrapped
from tests.inspection.reading import lightness

DISPLAYS = [getattr(inspection, name) for name in inspection.__all__]


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    for name in [each for each in sys.modules if each.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"Some\.plot needs matplotlib; .*sklearn-synset\[plot\]"):
        _plotting.check_matplotlib("Some.plot")
    for display in DISPLAYS:
        for name in ("from_estimator", "from_effects", "from_curve"):
            build = getattr(display, name, None)
            if build is None:
                continue
            parameters = inspect.signature(build).parameters.values()
            required = [None for each in parameters if each.default is each.empty]
            with pytest.raises(ImportError, match=f"{display.__name__}.{name} needs matplotlib"):
                build(*required)


def test_given_axes_are_used_and_new_ones_are_800_pixels_wide():
    _, ax = plt.subplots()
    assert _plotting.new_axes("plot", ax, 3) is ax
    figure = _plotting.new_axes("plot", None, 3).figure
    assert (figure.get_size_inches() * 100).tolist() == [800, 300]


def test_helping_and_hurting_differ_in_grey():
    helps, hurts = lightness(np.array([to_rgb(_plotting.HELPS), to_rgb(_plotting.HURTS)]))
    assert hurts - helps > 0.2


@pytest.mark.parametrize("n, n_max, step", [(5, 10, 1), (11, 10, 2), (100, 35, 5), (101, 10, 20)])
def test_ticks_are_thinned_to_what_there_is_room_for(n, n_max, step):
    _, ax = plt.subplots()
    _plotting.set_thinned_ticks(ax.xaxis, [f"{i}" for i in range(n)], n_max)
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == [f"{i}" for i in range(0, n, step)]
    assert len(labels) <= n_max


@pytest.mark.parametrize(
    "objective, expected",
    [
        ("auto", ("log-odds", "nats")),
        ("margin", ("log-odds", "nats")),
        ("probability", ("probability", None)),
        ("logit", ("logit", "nats")),
        ("loss", ("log-probability", "nats")),
    ],
)
def test_objectives_of_labels_have_their_names_and_units(objective, expected):
    attributor = SynsetAttributor(objective=objective)
    attributor.classes_ = np.array([0, 1])
    assert quantity_and_unit(attributor) == expected
    assert quantity_and_unit(attributor, "probability") == ("probability", None)


def test_objectives_of_values_are_in_the_unit_of_the_target():
    attributor = SynsetAttributor()
    attributor.classes_ = None
    assert quantity_and_unit(attributor, unit="mg/dl") == ("prediction", "mg/dl")
    assert quantity_and_unit(attributor, "loss", "m") == ("negative half squared error", "m²")
    assert quantity_and_unit(attributor)[1] == "unit of y"


def test_a_callable_objective_goes_by_its_name():
    def largest_logit(outputs, y):
        return outputs.amax(-1)

    attributor = SynsetAttributor(objective=largest_logit)
    attributor.classes_ = np.array([0, 1])
    assert quantity_and_unit(attributor) == ("largest logit", None)


def test_a_pipeline_is_unwrapped_into_its_last_step_and_the_others(wine):
    attributor, to_inputs = unwrapped(wine.estimator)
    assert attributor is wine.estimator[-1]
    np.testing.assert_array_equal(to_inputs(wine.X), wine.estimator[0].transform(wine.X))


def test_other_estimators_are_refused():
    with pytest.raises(TypeError, match="a Pipeline that ends in one; got str"):
        unwrapped("net")

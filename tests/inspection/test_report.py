"""What a report holds, for every kind of data."""

import copy
import json
import re
import subprocess
import sys
import webbrowser
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from sklearn_synset import SynsetAttributor
from sklearn_synset.inspection import AttributionReport
from sklearn_synset.inspection._report._packing import restored

FAST = {"max_iter": 0, "n_probes": 0, "n_steps": 5, "random_state": 0}


def contents(report):
    """Return the data in a page, as the page's script reads them."""
    page = report.to_html()
    (data,) = re.findall(r'<script type="application/json" id="report-data">(.*?)</script>', page)
    return json.loads(data)


def effects_in(report):
    found = contents(report)
    return restored(found["effects"], len(found["groups"]["name"]))


def assert_close(found, expected):
    """Fail unless effects are equal up to the rounding of a report."""
    tolerance = np.abs(expected).max(1, keepdims=True) / 60_000
    assert (np.abs(found - expected) <= tolerance + 1e-12).all()


class Elements(HTMLParser):
    """Counts elements, and collects their attributes and texts."""

    def __init__(self, page):
        super().__init__()
        self.names, self.attributes, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def digits_report(digits):
    return AttributionReport(
        digits.attributor,
        digits.X_query,
        digits.y_query,
        X_train=digits.X,
        y_train=digits.y,
        image_shape=(8, 8),
    )


@pytest.fixture(scope="module")
def wine_report(wine):
    return AttributionReport(
        wine.estimator, wine.X_query, wine.y_query, X_train=wine.X, y_train=wine.y
    )


@pytest.fixture(scope="module")
def diabetes_report(diabetes):
    return AttributionReport(
        diabetes.estimator,
        diabetes.X_query,
        diabetes.y_query,
        X_train=diabetes.X,
        y_train=diabetes.y,
        unit="points",
    )


# Content


def test_effects_are_those_of_attribute(digits, digits_report, diabetes, diabetes_report):
    assert_close(effects_in(digits_report), digits.attributor.attribute(digits.X_query))
    assert_close(effects_in(diabetes_report), diabetes.attributor.attribute(diabetes.X_query))
    np.testing.assert_array_equal(
        digits_report.effects_, digits.attributor.transform(digits.X_query)
    )


def test_wrong_predictions_have_effects_on_the_given_label_too(digits):
    y = (digits.y_query + 1) % 10
    found = contents(AttributionReport(digits.attributor, digits.X_query, y))
    queries, n_groups = found["given"]["query"], len(found["groups"]["name"])
    predicted = np.array(found["queries"]["predicted"])
    np.testing.assert_array_equal(queries, np.flatnonzero(predicted != y))
    expected = digits.attributor.attribute(digits.X_query[queries], y[queries])
    assert_close(restored(found["given"]["effects"], n_groups), expected)


def test_probabilities_are_those_of_the_network(digits, digits_report):
    net = digits.attributor.estimator_
    expected = net.predict_proba(digits.X_query.astype(np.float32)).max(1)
    np.testing.assert_allclose(
        contents(digits_report)["queries"]["probability"], expected, atol=1e-4
    )


def test_benefit_is_the_mean_effect_on_the_loss(digits, digits_report):
    expected = digits.attributor.attribute(digits.X_query, digits.y_query, objective="loss").mean(0)
    groups = contents(digits_report)["groups"]
    np.testing.assert_allclose(groups["onTruth"], expected, rtol=1e-3, atol=1e-9)
    clear = np.array(groups["onTruth"]) < -2 * np.array(groups["onTruthError"])
    np.testing.assert_array_equal(groups["hurts"], clear)


def test_groups_have_their_sizes_classes_and_typical_rows(wine, wine_report):
    found = contents(wine_report)
    groups, rows = found["groups"], found["rows"]
    attributor, y = wine.attributor, wine.y.to_numpy()
    for k, group in enumerate(attributor.groups_):
        members = attributor.group_labels_ == group
        assert groups["size"][k] == members.sum()
        assert groups["counts"][k] == [
            int((y[members] == each).sum()) for each in attributor.classes_
        ]
        assert all(members[rows["row"][place]] for place in groups["typical"][k])
    assert groups["name"][0] == "cellar of the old monastery"


def test_rows_are_shown_as_the_pipeline_takes_them(wine, wine_report):
    found = contents(wine_report)
    features, rows = found["features"], found["rows"]
    assert features["name"] == list(wine.X.columns)
    shown = np.array(features["rows"]).T
    np.testing.assert_allclose(shown, wine.X.to_numpy()[rows["row"]], rtol=1e-3)
    assert rows["name"] == list(wine.X.index[rows["row"]])
    assert found["queries"]["name"] == list(wine.X_query.index)


def test_influential_rows_are_those_of_the_attributor(digits, digits_report):
    found = contents(digits_report)
    expected, values = digits.attributor.most_influential_rows(digits.X_query, n_rows=6)
    places = np.array(found["influence"]["rows"])
    np.testing.assert_array_equal(np.array(found["rows"]["row"])[places], expected)
    np.testing.assert_allclose(found["influence"]["effects"], values, rtol=2e-2, atol=1e-9)


def test_suspicious_rows_are_those_of_the_lowest_score(digits, digits_report):
    labels = contents(digits_report)["labels"]
    scores = digits.attributor.score_samples(digits.X, digits.y)
    assert labels["source"] == "training" and labels["row"] == np.argsort(scores)[:60].tolist()
    assert labels["given"] == digits.y[labels["row"]].tolist()


def test_without_training_rows_queries_are_judged(digits, diabetes):
    found = contents(AttributionReport(digits.attributor, digits.X_query, digits.y_query))
    assert found["labels"]["source"] == "queries" and found["groups"]["typical"] is None
    assert found["features"]["rows"] is None and found["rows"]["label"] is None
    assert len(found["influence"]["rows"]) == 10
    assert contents(AttributionReport(diabetes.attributor, diabetes.X_query))["labels"] is None


def test_a_regression_has_values_and_errors(diabetes, diabetes_report):
    found = contents(diabetes_report)
    queries = found["queries"]
    error = np.array(queries["predicted"]) - diabetes.y_query.to_numpy()
    np.testing.assert_allclose(queries["error"], error, rtol=1e-2, atol=0.1)
    assert found["raises"] and found["unit"] == "points" and found["classes"] is None
    assert len(found["groups"]["kinds"]) == 3


def test_networks_from_several_seeds_have_standard_errors(digits):
    attributor = SynsetAttributor(n_groups=10, n_models=2, **FAST).fit(digits.X[:80], digits.y[:80])
    found = contents(AttributionReport(attributor, digits.X_query))
    _, errors = attributor.attribute(digits.X_query, return_std=True)
    assert_close(restored(found["errors"], len(attributor.groups_)), errors)


def small_network(n_outputs):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, n_outputs))


@pytest.mark.parametrize("n_queries", [1, 2])
@pytest.mark.parametrize("objective", ["auto", "probability", "loss"])
def test_few_queries_and_two_groups_are_enough(n_queries, objective):
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(20, 12)), np.arange(20) % 2
    attributor = SynsetAttributor(small_network(2).double(), objective=objective, **FAST)
    attributor.fit(X, y, groups=np.repeat(["a", "b"], 10))
    report = AttributionReport(attributor, X[:n_queries], y[:n_queries], X_train=X, y_train=y)
    assert effects_in(report).shape == (n_queries, 2)


def test_values_of_several_targets_are_written_out():
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(20, 12)), rng.normal(size=(20, 2))
    attributor = SynsetAttributor(small_network(2).double(), objective="loss", **FAST)
    attributor.fit(X, y, groups=np.arange(20) % 4)
    found = contents(AttributionReport(attributor, X[:3], y[:3], X_train=X, y_train=y))
    assert found["queries"]["given"][0] == ", ".join(f"{value:.3g}" for value in y[0])
    assert not found["raises"]


def test_a_table_may_hold_texts_and_missing_values(wine):
    X = wine.X_query.copy()
    X["vineyard"] = ["north", None] * (len(X) // 2)
    X["sold"] = pd.Timestamp("2020-01-02")
    X.iloc[0, 0] = np.nan
    train = wine.X.assign(vineyard="south", sold=pd.Timestamp("2020-01-01"))
    numbers = list(wine.X.columns[1:])
    pipeline = make_pipeline(
        make_column_transformer((StandardScaler(), numbers)), SynsetAttributor(n_groups=4, **FAST)
    ).fit(train, wine.y)
    found = contents(AttributionReport(pipeline, X, X_train=train, y_train=wine.y))
    features = found["features"]
    columns = dict(zip(features["name"], features["queries"], strict=True))
    assert columns["vineyard"][:2] == ["north", None]
    assert columns["sold"][0].startswith("2020-01-02")
    assert columns["alcohol"][0] is None


def test_after_training_rows_were_dropped_the_report_says_so(digits, tmp_path):
    path = tmp_path / "attributor"
    digits.attributor.save(path)
    attributor = SynsetAttributor.load(path).drop_training_rows()
    report = AttributionReport(attributor, digits.X_query)
    assert contents(report)["influence"] is None
    assert "they were dropped" in report.notes_[0] and "they were dropped" in report.to_html()


def test_reasons_and_plans_of_later_versions_are_shown(digits):
    nothing = {"rank_correlation": np.nan, "slope": np.nan, "reason": "no group could be probed"}
    attributor = copy.copy(digits.attributor)
    attributor.fidelity_ = nothing
    attributor.plan_ = replace(attributor.plan_, reasons=("solver: replay, as <it> is known",))
    page = AttributionReport(attributor, digits.X_query).to_html()
    assert "No group could be probed." in page and "as &lt;it&gt; is known" in page


# Size


@pytest.mark.slow
def test_a_thousand_queries_and_two_hundred_groups_fit_in_five_megabytes():
    """Coloured noise, which does not compress, standard errors aside."""
    rng = np.random.RandomState(0)
    X, y = rng.uniform(size=(1000, 3, 32, 32)).astype(np.float32), np.arange(1000) % 10
    torch.manual_seed(0)
    module = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 10))
    attributor = SynsetAttributor(module, **FAST).fit(X[:400], y[:400], groups=np.arange(400) % 200)
    report = AttributionReport(attributor, X, (y + 1) % 10, X_train=X[:400], y_train=y[:400])
    size = len(report.to_html().encode())
    assert 1_000_000 < size < 5_000_000
    assert any("Pictures are shown" in note for note in report.notes_)


def test_five_thousand_queries_and_many_features_are_thinned_out():
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(5000, 12)), np.arange(5000) % 2
    attributor = SynsetAttributor(small_network(2).double(), **FAST)
    attributor.fit(X[:50], y[:50], groups=np.arange(50) % 2)
    wide = pd.DataFrame(np.tile(X, 10))
    pipeline = make_pipeline(FunctionTransformer(lambda rows: rows.to_numpy()[:, :12]), attributor)
    report = AttributionReport(pipeline, wide, n_influential=0)
    assert len(report.to_html()) < 5_000_000
    assert "80 of 120 features are left out" in report.notes_[1]
    assert "as the author chose" in report.notes_[0]


# Escaping

HOSTILE = "</script><script>hacked=1</script>"


def hostile_report():
    """Return a report in which every text that a user gives is an attack."""
    rng = np.random.RandomState(0)
    labels = np.array([HOSTILE, "<img src=x onerror=hacked=1> & \"b\" 'c'"])
    X = pd.DataFrame(
        rng.normal(size=(24, 3)),
        columns=[f"{i}{HOSTILE}" for i in range(3)],
        index=[f"{HOSTILE}{i}" for i in range(24)],
    )
    y, groups = labels[np.arange(24) % 2], np.array([f"{i}<i>{HOSTILE}" for i in "abcd"])
    attributor = SynsetAttributor(n_groups=4, **FAST)
    attributor.fit(X, y, groups=groups[np.arange(24) % 4])
    return AttributionReport(
        *(attributor, X[:6], y[::-1][:6]),
        X_train=X,
        y_train=y,
        title=f"{{{{ 7 * 7 }}}} {HOSTILE}",
        description=HOSTILE,
    )


@pytest.fixture(scope="module")
def hostile():
    return hostile_report()


def test_nothing_that_a_user_gives_becomes_an_element(hostile, wine_report):
    page, plain = Elements(hostile.to_html()), Elements(wine_report.to_html())
    assert page.names.count("script") == plain.names.count("script") == 2
    assert not {"img", "b", "i", "iframe"} & set(page.names)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "style"]
    assert HOSTILE in page.text and "{{ 7 * 7 }}" in page.text


def test_the_page_allows_no_other_script_and_no_connection(wine_report):
    page = wine_report.to_html()
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', page)
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert policy.count("sha256-") == 2


# Around the page


def test_a_page_is_written_opened_and_shown_in_a_notebook(
    wine_report, temporary_folder, monkeypatch
):
    path, opened = temporary_folder / "report.html", []
    wine_report.write_html(path)
    assert path.read_text(encoding="utf-8") == wine_report.to_html()
    monkeypatch.setattr(webbrowser, "open", opened.append)
    temporary = wine_report.open()
    assert opened == [temporary.as_uri()] and temporary.parent == temporary_folder
    assert temporary.read_bytes() == path.read_bytes()
    assert wine_report._repr_html_().startswith("<iframe") and "10 queries" in repr(wine_report)


def test_the_same_data_give_the_same_page(wine, wine_report):
    def without_times(page):
        return re.sub(r"[\d.e-]+ s for", "", page)

    again = AttributionReport(
        wine.estimator, wine.X_query, wine.y_query, X_train=wine.X, y_train=wine.y
    )
    assert without_times(again.to_html()) == without_times(wine_report.to_html())


def test_import_leaves_jinja2_to_those_who_make_a_report():
    # torch imports it too, when asked to compile.
    code = (
        "import sys, builtins; real = builtins.__import__\n"
        "def watch(name, *args, **kwargs):\n"
        "    asked = (args[0] if args else {} or {}).get('__name__', '')\n"
        "    assert not (name == 'jinja2' and asked.startswith('sklearn_synset'))\n"
        "    return real(name, *args, **kwargs)\n"
        "builtins.__import__ = watch\n"
        "import sklearn_synset.inspection"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_jinja2_is_named(digits, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"needs jinja2; .*sklearn-synset\[report\]"):
        AttributionReport(digits.attributor, digits.X_query)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": [1]}, "y must hold a label or value for each query, 10 in all; got 1"),
        ({"y": np.full(10, 77)}, "y holds labels that fit has not seen: 77"),
        ({"y": np.zeros((10, 2))}, "y must have shape"),
        ({"X_train": np.zeros((3, 64))}, "X_train must be the 200 rows"),
        ({"y_train": np.zeros(3)}, "y_train must be the 200 rows"),
        ({"query_names": ["a"]}, "query_names must hold a name for each query"),
        ({"class_names": ["a"]}, "class_names must hold a name for each of the 10 classes; got 1"),
        ({"feature_names": ["a"]}, "feature_names must hold a name for each feature, 64"),
        ({"image_shape": (3, 3)}, "image_shape must be"),
        ({"n_typical": 0}, "n_typical == 0, must be >= 1"),
    ],
)
def test_what_does_not_fit_is_refused(digits, options, message):
    with pytest.raises(ValueError, match=message):
        AttributionReport(digits.attributor, digits.X_query, **options)


def test_names_that_are_given_replace_labels_and_numbers(digits):
    names = [f"digit {i}" for i in range(10)]
    queries = [f"scan {i}" for i in range(10)]
    report = AttributionReport(
        digits.attributor, digits.X_query.tolist(), class_names=names, query_names=queries
    )
    found = contents(report)
    assert found["classes"] == names and found["queries"]["name"] == queries
    assert found["features"]["name"][:2] == ["x0", "x1"]


def test_rows_that_cannot_be_shown_are_refused(digits):
    dataset = torch.utils.data.TensorDataset(torch.zeros(3, 64))
    with pytest.raises(TypeError, match="X must be an array or a DataFrame.*TensorDataset"):
        AttributionReport(digits.attributor, dataset)


def test_no_query_and_no_attributor_are_refused(digits, diabetes):
    with pytest.raises(ValueError, match="X holds no queries"):
        AttributionReport(digits.attributor, digits.X_query[:0])
    with pytest.raises(TypeError, match="SynsetAttributor or a Pipeline"):
        AttributionReport(object(), digits.X_query)
    with pytest.raises(ValueError, match="class_names are for labels"):
        AttributionReport(diabetes.attributor, diabetes.X_query, class_names=["a"])

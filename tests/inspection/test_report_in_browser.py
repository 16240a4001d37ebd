"""A report in a real browser: Debian's chromium, steered by selenium, with the network off."""

import csv
import shutil
import time

import numpy as np
import pytest
from sklearn.utils import Bunch

from sklearn_synset.inspection import AttributionReport
from sklearn_synset.inspection._fitted_attributor import predictions
from tests.inspection.test_report import HOSTILE, hostile_report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
PATIENCE = 10.0  # seconds
PARTS = ("overview", "predictions", "groups", "labels")

pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs chromium and chromedriver (Debian: chromium-driver)"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield driver
    driver.quit()


class Page:
    """A report in the browser, and what a reader does with it."""

    def __init__(self, browser, path):
        self.browser, self.path = browser, path

    def open(self, place="", width=1200, theme="light"):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.browser.get("about:blank")
        self.browser.get_log("browser")
        self.browser.get(f"{self.path.as_uri()}{place and '#'}{place}")
        return self

    def run(self, script, *args):
        return self.browser.execute_script(f"return {script}", *args)

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def click(self, target):
        element = self.find(target) if isinstance(target, str) else target
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        element.click()

    def press(self, *keys):
        self.browser.switch_to.active_element.send_keys(*keys)

    def texts(self, selector):
        return self.run(
            "[...document.querySelectorAll(arguments[0])].map((each) => each.textContent)", selector
        )

    def table(self, panel):
        """Return the numbers of the rows in the order of the table's first page."""
        lines = f"#{panel}-list tr[data-row]"
        return self.run(
            "[...document.querySelectorAll(arguments[0])].map((each) => +each.dataset.row)", lines
        )

    def bars(self):
        """Return the effect of each group whose bar is shown, from the top."""
        pairs = self.run(
            "[...document.querySelectorAll('#query-bars li')]"
            ".map((each) => [+each.dataset.key, +each.dataset.effect])"
        )
        return dict(pairs)

    def complaints(self):
        return [entry["message"] for entry in self.browser.get_log("browser")]


def page_of(report, folder, browser):
    path = folder / "report.html"
    report.write_html(path)
    return Page(browser, path)


def pages(case, browser, folder, **options):
    rows = (case.estimator, case.X_query, case.y_query)
    report = AttributionReport(*rows, X_train=case.X, y_train=case.y, **options)
    return page_of(report, folder, browser)


@pytest.fixture(scope="module")
def digits_page(digits, browser, tmp_path_factory):
    """Half of the labels are taken to be others, so that some predictions are wrong."""
    y = np.where(np.arange(10) % 2, (digits.y_query + 1) % 10, digits.y_query)
    case = Bunch(**(digits | {"y_query": y}))
    page = pages(case, browser, tmp_path_factory.mktemp("digits"), image_shape=(8, 8))
    page.case = case
    return page


@pytest.fixture(scope="module")
def wine_page(wine, browser, tmp_path_factory):
    return pages(wine, browser, tmp_path_factory.mktemp("wine"))


@pytest.fixture(scope="module")
def diabetes_page(diabetes, browser, tmp_path_factory):
    return pages(diabetes, browser, tmp_path_factory.mktemp("diabetes"), unit="points")


@pytest.fixture(scope="module")
def hostile_page(browser, tmp_path_factory):
    return page_of(hostile_report(), tmp_path_factory.mktemp("hostile"), browser)


def assert_close(found, expected):
    """Fail unless bars are effects, up to the rounding of a report."""
    for group, effect in found.items():
        assert abs(effect - expected[group]) <= np.abs(expected).max() / 60_000 + 1e-12


@pytest.mark.parametrize("name", ["digits", "wine", "diabetes", "hostile"])
@pytest.mark.parametrize(("width", "theme"), [(1200, "light"), (400, "dark")])
def test_every_part_opens_offline_without_an_error_and_fits_the_screen(name, width, theme, request):
    page = request.getfixturevalue(f"{name}_page")
    for part in PARTS:
        page.open(width=width, theme=theme)
        assert page.run("navigator.onLine") is False
        page.click(f"#tab-{part}")
        assert page.find(f"#panel-{part}").is_displayed()
        assert [page.find(f"#panel-{each}").is_displayed() for each in PARTS].count(True) == 1
        assert page.run("document.documentElement.scrollWidth") <= width
        broken = "[...document.images].filter((each) => each.complete && !each.naturalWidth).length"
        assert page.run(broken) == 0
        assert page.run("performance.getEntriesByType('resource').length") == 0
        assert page.complaints() == []


def test_the_theme_is_that_of_the_reader(wine_page):
    colours = [
        wine_page.open(theme=theme).run("getComputedStyle(document.body).backgroundColor")
        for theme in ("light", "dark")
    ]
    brightness = [sum(map(int, colour[4:-1].split(","))) for colour in colours]
    assert brightness[0] > 600 > 150 > brightness[1]


@pytest.mark.parametrize("name", ["digits", "wine", "diabetes"])
def test_choosing_a_query_changes_the_bars_to_its_effects(name, request):
    page, case = request.getfixturevalue(f"{name}_page"), request.getfixturevalue(name)
    steps = case.estimator[:-1] if hasattr(case.estimator, "steps") else None
    inputs = case.X_query if steps is None else steps.transform(case.X_query)
    effects = case.attributor.attribute(inputs)
    page.open("predictions")
    for query in (3, 7):
        page.click(f"#query-list tr[data-row='{query}'] td:last-child")
        shown = page.bars()
        assert_close(shown, effects[query])
        strongest = np.argsort(-np.abs(effects[query]))[:10]
        assert set(shown) == set(strongest)
        assert list(shown.values()) == sorted(shown.values(), reverse=True)
        assert page.find("#query-bars").get_attribute("data-query") == str(query)
        written = page.texts("#query-bars .value")
        sizes = [float(text.replace("−", "-").split("±")[0]) for text in written]
        largest = np.abs(effects[query]).max()
        np.testing.assert_allclose(sizes, list(shown.values()), atol=0.01 * largest)


def test_bars_are_as_long_as_their_effects(digits_page):
    digits_page.open("predictions=2")
    lengths = np.array(
        digits_page.run(
            "[...document.querySelectorAll('#query-bars .fill')]"
            ".map((each) => each.getBoundingClientRect().width)"
        )
    )
    effects = np.abs(list(digits_page.bars().values()))
    np.testing.assert_allclose(lengths / lengths.max(), effects / effects.max(), atol=0.03)


def test_all_groups_are_shown_when_asked_for(digits_page, digits):
    digits_page.open("predictions=4")
    buttons = digits_page.browser.find_elements("css selector", "#query-detail .plain-button")
    (more,) = [each for each in buttons if each.text == "Show all 20 groups"]
    digits_page.click(more)
    shown, expected = digits_page.bars(), digits.attributor.attribute(digits.X_query)[4]
    assert sorted(shown) == list(range(20))
    assert_close(shown, expected)


def test_a_wrong_prediction_is_explained_for_the_given_label_too(digits_page):
    case = digits_page.case
    wrong = np.flatnonzero(predictions(case.attributor, case.X_query) != case.y_query)[0]
    digits_page.open(f"predictions={wrong}")
    before = digits_page.bars()
    digits_page.click("[data-judged='given']")
    expected = case.attributor.attribute(case.X_query, case.y_query)[wrong]
    assert digits_page.bars() != before
    assert_close(digits_page.bars(), expected)


def test_a_column_sorts_the_table_both_ways(digits_page, digits):
    largest = np.abs(digits.attributor.attribute(digits.X_query)).max(1)
    digits_page.open("predictions")
    assert digits_page.table("query") == list(range(10))
    head = "#query-list th[data-key='strongest']"
    digits_page.click(f"{head} button")
    assert digits_page.find(head).get_attribute("aria-sort") == "descending"
    first = digits_page.table("query")
    assert np.all(np.diff(largest[first]) <= 1e-3 * largest.max())
    digits_page.click(f"{head} button")
    assert np.all(np.diff(largest[digits_page.table("query")]) >= -1e-3 * largest.max())


def test_wrong_unsure_and_brittle_predictions_are_found(digits_page):
    case = digits_page.case
    wrong = np.flatnonzero(predictions(case.attributor, case.X_query) != case.y_query)
    digits_page.open("predictions").click("[data-view='wrong']")
    assert digits_page.table("query") == wrong.tolist()
    net = case.attributor.estimator_
    surest = net.predict_proba(case.X_query.astype(np.float32)).max(1)
    digits_page.click("[data-view='unsure']")
    assert digits_page.table("query") == [surest.argmin()]
    digits_page.click("[data-view='brittle']")
    assert len(digits_page.table("query")) <= 1
    digits_page.click("[data-view='all']")
    assert len(digits_page.table("query")) == 10


def test_search_and_filter_narrow_the_table(wine_page, wine):
    wine_page.open("predictions")
    box = wine_page.find("#query-list input[type='search']")
    box.send_keys("bottle 1")
    names = list(wine.X_query.index)
    assert wine_page.table("query") == [i for i, name in enumerate(names) if "bottle 1" in name]
    assert "of 10 predictions" in wine_page.find("#query-list .count").text
    box.clear()
    box.send_keys("nothing like it")
    assert wine_page.table("query") == []
    assert "Nothing matches." in wine_page.find("#query-list").text


def test_groups_are_reached_from_predictions_and_back(digits_page):
    digits_page.open("predictions=1")
    strongest = next(iter(digits_page.bars()))
    digits_page.click("#query-bars li .name-button")
    assert digits_page.find("#panel-groups").is_displayed()
    assert digits_page.find("#kind-bars").get_attribute("data-group") == str(strongest)
    assert digits_page.run("location.hash") == f"#groups={strongest}"
    digits_page.click("#group-detail .links .name-button")
    assert digits_page.find("#panel-predictions").is_displayed()
    assert strongest in digits_page.bars()


def test_the_csv_holds_the_ticked_rows(digits_page, digits, tmp_path):
    place = {"behavior": "allow", "downloadPath": str(tmp_path)}
    digits_page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", place)
    digits_page.open("labels")
    assert not digits_page.find("#download-csv").is_enabled()
    scores = digits.attributor.score_samples(digits.X, digits.y)
    ticked = np.argsort(scores)[[0, 2, 5]].tolist()
    for row in ticked:
        digits_page.click(f"input[data-row='{row}']")
    assert digits_page.find("#download-csv").text == "Download CSV of 3 rows"
    digits_page.click("#download-csv")
    path, end = tmp_path / "suspicious_rows.csv", time.monotonic() + PATIENCE
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.05)
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["row"]) for line in lines] == ticked
    assert [line["given"] for line in lines] == [str(digits.y[row]) for row in ticked]
    np.testing.assert_allclose([float(line["score"]) for line in lines], scores[ticked], rtol=1e-3)


def test_a_script_in_a_label_is_shown_as_text(hostile_page):
    for part in ("predictions=0", "groups=0", "labels"):
        hostile_page.open(part)
        assert HOSTILE in hostile_page.run(
            "document.querySelector('main').innerText.replace(/\\s+/g, ' ')"
        )
        assert hostile_page.run("typeof window.hacked") == "undefined"
        assert hostile_page.run("document.querySelectorAll('script').length") == 2
        assert hostile_page.run("document.querySelectorAll('img, b, i').length") == 0
    assert HOSTILE in hostile_page.find("h1").text


def test_a_csv_of_hostile_names_has_one_line_a_row_and_no_formula(hostile_page, tmp_path):
    place = {"behavior": "allow", "downloadPath": str(tmp_path)}
    hostile_page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", place)
    hostile_page.open("labels").click("#panel-labels .toolbar .plain-button")
    hostile_page.click("#download-csv")
    path, end = tmp_path / "suspicious_rows.csv", time.monotonic() + PATIENCE
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.05)
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 24 and all(line["name"].startswith(HOSTILE) for line in lines)


def test_it_can_be_used_with_the_keyboard_alone(digits_page):
    keys = webdriver.Keys
    digits_page.open().run("document.getElementById('tab-overview').focus()")
    digits_page.press(keys.ARROW_RIGHT)
    assert digits_page.find("#panel-predictions").is_displayed()
    digits_page.run("document.querySelector('#query-list tbody [tabindex=\"0\"]').focus()")
    digits_page.press(keys.ARROW_DOWN)
    digits_page.press(keys.ARROW_DOWN)
    assert digits_page.find("#query-bars").get_attribute("data-query") == "2"
    assert digits_page.browser.switch_to.active_element.text == "2"
    digits_page.press(keys.ARROW_UP)
    assert digits_page.find("#query-list tr[aria-current]").get_attribute("data-row") == "1"
    digits_page.run("document.querySelector('[data-view=\"wrong\"]').focus()")
    digits_page.press(keys.ENTER)
    assert digits_page.find("[data-view='wrong']").get_attribute("aria-pressed") == "true"
    nameless = (
        "[...document.querySelectorAll('button, input, select, img, [role=region]')].filter((each) "
        "=> !(each.textContent || each.ariaLabel || each.alt || each.labels?.length)).length"
    )
    assert digits_page.run(nameless) == 0


def test_a_frame_in_a_notebook_works(digits, browser, tmp_path):
    report = AttributionReport(digits.attributor, digits.X_query, image_shape=(8, 8))
    path = tmp_path / "notebook.html"
    path.write_text(f"<!DOCTYPE html><title>Notebook</title>{report._repr_html_()}", "utf-8")
    page = Page(browser, path).open()
    browser.switch_to.frame(0)
    page.click("#tab-predictions")
    page.click("#query-list tr[data-row='3'] td:last-child")
    assert_close(page.bars(), digits.attributor.attribute(digits.X_query)[3])
    browser.switch_to.default_content()
    assert page.complaints() == []

"""The parts of a report that are plain functions."""

import base64
import json
import re
import zlib
from dataclasses import asdict

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sklearn_synset.inspection._report._feature_table import (
    centre_and_spread,
    columns_of,
    flat,
    is_number,
    kept_features,
)
from sklearn_synset.inspection._report._fidelity_words import verdict
from sklearn_synset.inspection._report._packing import (
    json_for_script,
    quantised,
    restored,
    rounded,
)
from sklearn_synset.inspection._report._page import in_a_frame, read_part
from sklearn_synset.inspection._report._png import encode_png
from sklearn_synset.inspection._report._shown_training_rows import (
    Influence,
    Suspects,
    rows_to_keep,
)
from sklearn_synset.inspection._report._summaries import (
    composition,
    groups_to_flip,
    mean_and_error,
    mean_by_kind,
    runner_up,
    softmax,
    thirds,
)
from sklearn_synset.inspection._report._thumbnails import (
    Scale,
    coarsened,
    common_scale,
    eight_bit,
    thumbnails,
)

# Pictures


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (6, 4, 3), (3, 8, 4)])
def test_png_files_are_read_back_as_they_were(shape, tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
    path = tmp_path / "picture.png"
    path.write_bytes(encode_png(pixels))
    found = np.rint(255 * plt.imread(path)).astype(np.uint8)
    np.testing.assert_array_equal(found[..., 0] if found.ndim > pixels.ndim else found, pixels)


def test_png_files_have_valid_checksums():
    file = encode_png(np.arange(12, dtype=np.uint8).reshape(3, 4))
    place = 8
    while place < len(file):
        length = int.from_bytes(file[place : place + 4], "big")
        body = file[place + 4 : place + 8 + length]
        assert zlib.crc32(body) == int.from_bytes(file[place + 8 + length :][:4], "big")
        place += 12 + length
    assert place == len(file)


@pytest.mark.parametrize("pixels", [np.zeros((2, 2)), np.zeros((2, 2, 2), np.uint8), np.uint8([1])])
def test_other_arrays_are_no_pictures(pixels):
    with pytest.raises(ValueError, match="pixels must be uint8 of shape"):
        encode_png(pixels)


def test_pictures_share_one_scale_and_handwriting_is_ink_on_paper():
    rows = np.zeros((3, 16))
    rows[0, 3], rows[1, 5] = 8.0, 4.0
    scale = common_scale(rows, (4, 4))
    assert scale == Scale(0.0, 8.0, inverted=True)
    pixels = eight_bit(rows, (4, 4), scale)
    assert (pixels[0, 0, 3], pixels[1, 1, 1], pixels[2, 0, 0]) == (0, 128, 255)
    photo = np.linspace(0, 1, 48).reshape(1, 48)
    assert not common_scale(photo, (3, 4, 4)).inverted
    assert eight_bit(photo, (3, 4, 4), common_scale(photo, (3, 4, 4))).shape == (1, 4, 4, 3)


def test_constant_pictures_and_missing_pixels_can_be_shown():
    rows = np.full((2, 4), 3.0)
    rows[1, 0] = np.nan
    assert eight_bit(rows, (2, 2), common_scale(rows, (2, 2))).shape == (2, 2, 2)


def test_coarser_pictures_are_means_of_their_pixels():
    pixels = np.uint8([[[0, 100, 7], [100, 200, 7]]])
    np.testing.assert_array_equal(coarsened(pixels, 2, 256), [[[100]]])
    np.testing.assert_array_equal(coarsened(pixels, 1, 256), pixels)
    assert set(np.unique(coarsened(pixels, 1, 2))) <= {0, 255}
    assert coarsened(pixels, 9, 256).shape == (1, 1, 1)


def test_thumbnails_keep_to_the_budget_and_say_what_they_left_out():
    noise = np.random.RandomState(0).randint(0, 256, (300, 16, 16, 3)).astype(np.uint8)
    texts, note = thumbnails(noise, 1_000_000)
    assert note is None and None not in texts
    assert base64.b64decode(texts[0]).startswith(b"\x89PNG")
    texts, note = thumbnails(noise, 100_000)
    assert sum(map(len, texts)) <= 100_000 and "Pictures are shown at 1/" in note
    texts, note = thumbnails(noise, 10_000)
    n_left_out = texts.count(None)
    assert n_left_out and f"{n_left_out} pictures are left out." in note
    assert None not in texts[:20], "the first are the most important"
    assert thumbnails(noise[:0], 10) == ([], None)


def test_large_pictures_become_small_ones():
    (text,), note = thumbnails(np.zeros((1, 400, 200), np.uint8), 10_000)
    width, height = (int.from_bytes(base64.b64decode(text)[i : i + 4], "big") for i in (16, 20))
    assert (height, width) == (80, 40) and "1/5" in note


# Packing


def test_packed_effects_are_those_that_were_packed():
    rng = np.random.RandomState(0)
    values = rng.normal(size=(7, 11)) * 10.0 ** rng.randint(-6, 6, (7, 1))
    values[3] = 0
    found = restored(quantised(values), 11)
    error = np.abs(found - values).max(1)
    assert (error <= np.abs(values).max(1) / 65_000).all()
    assert not found[3].any()


def test_packing_copes_with_numbers_that_are_none():
    found = restored(quantised(np.array([[np.nan, np.inf, 2.0], [5e-324, 0, 0]])), 3)
    np.testing.assert_allclose(found, [[0, 0, 2.0], [0, 0, 0]], rtol=1e-6)


def test_rounded_numbers_are_short_and_valid_json():
    numbers = rounded(np.array([[1 / 3, 2.0], [np.nan, -1e-12 / 3]]), 3)
    assert json.dumps(numbers, allow_nan=False) == "[[0.333, 2], [null, -3.33e-13]]"


@pytest.mark.parametrize(
    "text",
    [
        "</script><script>alert(1)</script>",
        "<!--",
        "]]>",
        "&lt;",
        "\u2028",
        "\ud800",
        'a"b\\',
        "\0",
    ],
)
def test_no_text_can_end_the_element_that_it_is_in(text):
    packed = json_for_script({"label": [text, np.float32(1.5), np.arange(2)]})
    assert packed.isascii() and not re.search("[<>&]", packed)
    assert json.loads(packed) == {"label": [text, 1.5, [0, 1]]}


def test_what_is_no_json_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_for_script([float("nan")])
    with pytest.raises(TypeError, match="set has no place"):
        json_for_script([{1}])


def test_a_frame_keeps_the_page_to_itself():
    frame = in_a_frame('<p title="a">&amp;</p>', 300)
    assert frame.count("<") == 2 and "allow-same-origin" not in frame
    assert "&lt;p title=&quot;a&quot;&gt;&amp;amp;&lt;/p&gt;" in frame


# Summaries


def test_groups_to_flip_is_the_fewest_by_brute_force():
    rng = np.random.RandomState(0)
    effects, gap = rng.normal(size=(50, 6)), rng.uniform(0, 5, 50)
    found = groups_to_flip(gap, effects)
    for line, needed, n in zip(effects, gap, found, strict=True):
        sums = [np.sort(line)[::-1][:m].sum() for m in range(7)]
        enough = [m for m in range(7) if sums[m] >= needed]
        assert np.ceil(n) == (min(enough) if enough else np.inf)


def test_groups_to_flip_orders_what_needs_equally_many():
    found = groups_to_flip(np.array([0.1, 0.9, 0.0]), np.array([[1.0], [1.0], [-1.0]]))
    np.testing.assert_allclose(found, [0.1, 0.9, 0.0])


def test_the_second_label_is_the_best_of_the_others():
    logits = np.array([[1.0, 3.0, 2.0], [5.0, 3.0, 4.0]])
    np.testing.assert_array_equal(runner_up(logits, np.array([1, 1])), [2, 0])
    np.testing.assert_allclose(softmax(logits + 1000).sum(1), 1)


def test_thirds_are_equally_large_and_constant_values_stay_together():
    assert np.bincount(thirds(np.arange(9.0))).tolist() == [3, 3, 3]
    assert set(thirds(np.ones(4))) == {0}


def test_means_by_kind_have_no_value_where_there_is_no_query():
    means = mean_by_kind(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([2, 2]), 3)
    np.testing.assert_array_equal(means[:, 2], [2, 3])
    assert np.isnan(means[:, :2]).all()


def test_the_mean_of_one_query_has_no_standard_error():
    mean, error = mean_and_error(np.array([[1.0, -2.0]]))
    assert mean.tolist() == [1, -2] and np.isinf(error).all()
    _, error = mean_and_error(np.array([[1.0], [3.0]]))
    np.testing.assert_allclose(error, 1.0)


def test_composition_counts_rows_of_each_class():
    counts = composition(np.array([0, 1, 1]), np.array([1, 1, 0]), 3, 2)
    assert counts.tolist() == [[0, 1], [1, 1], [0, 0]]


def test_kept_rows_are_named_once_the_most_important_first():
    suspects = Suspects("training", np.array([7, 1]), *[np.zeros(2)] * 3)
    influence = Influence(np.array([[9, 1], [9, 5]]), np.zeros((2, 2)))
    rows, n_first = rows_to_keep([np.array([4]), np.array([1, 4])], suspects, influence)
    assert rows[:n_first].tolist() == [4, 1, 7] and sorted(rows[n_first:]) == [5, 9]
    assert rows_to_keep(None, None, None)[0].shape == (0,)


# Features


def test_features_are_numbers_or_texts():
    table = np.array([[1, "a", None, True], [2.5, "b" * 400, 1, False]], dtype=object)
    numeric = [is_number(column) for column in table.T]
    assert numeric == [True, False, True, False]
    columns = columns_of(table, np.arange(4), numeric)
    assert columns[0] == [1, 2.5] and columns[2] == [None, 1]
    assert columns[1][1].endswith("…") and len(columns[1][1]) <= 60
    assert columns[3] == ["True", "False"]
    assert is_number(np.arange(2)) and not is_number(np.array(["x"]))


def test_the_features_that_are_kept_are_those_that_differ():
    rows = np.zeros((4, 50))
    rows[0, [3, 20, 41]] = 1.0
    kept = kept_features(rows, 10**6)
    assert len(kept) == 8 and {3, 20, 41} <= set(kept)
    np.testing.assert_array_equal(kept_features(rows, 10), np.arange(50))


def test_the_centre_leaves_out_what_is_not_known():
    assert centre_and_spread(np.array([1.0, 3.0, np.nan])) == (2.0, 1.0)
    assert np.isnan(centre_and_spread(np.array([np.nan]))).all()
    assert flat(np.zeros((2, 3, 4))).shape == (2, 12)
    assert flat(np.array(["a", "b"])).shape == (2, 1)


# Words


@pytest.mark.parametrize(
    ("correlation", "level"),
    [(0.9, "good"), (0.5, "good"), (0.4, "fair"), (0.2, "poor"), (-0.5, "poor"),
     (float("nan"), "unknown"), (None, "unknown")],
)  # fmt: skip
def test_the_verdict_follows_the_rank_correlation(correlation, level):
    assert verdict({"rank_correlation": correlation}).level == level


def test_the_verdict_says_why_nothing_was_measured():
    fidelity = {"rank_correlation": np.nan, "slope": np.nan, "reason": "one group was probed"}
    assert verdict(fidelity).sentences == ["One group was probed."]
    assert verdict(None).level == "unknown" and not verdict({}).gauges


@pytest.mark.parametrize(
    ("slope", "words"),
    [(3.0, "too small"), (1.1, "about right"), (0.3, "too large"), (-1.0, "mean nothing")],
)
def test_the_verdict_says_whether_sizes_are_right(slope, words):
    assert words in verdict({"rank_correlation": 0.6, "slope": slope}).sentences[-1]


def test_a_wide_interval_is_warned_of():
    fidelity = {"rank_correlation": 0.6, "rank_correlation_interval": (0.1, 0.9), "groups": [1]}
    text = " ".join(verdict(fidelity).sentences)
    assert "1 group was left out" in text and "interval reaches below 0.35" in text


def test_gauges_stay_on_their_scales():
    found = verdict(
        {
            "rank_correlation": 0.6,
            "rank_correlation_interval": (-2, 2),
            "slope": 100.0,
            "slope_interval": (-1.0, np.nan),
        }
    )
    for gauge in asdict(found)["gauges"]:
        assert 0 <= gauge["low"] <= gauge["value"] <= gauge["high"] <= 100


# Colours


def themes():
    style = read_part("report.css")
    light, dark = re.findall(r":root \{(.*?)\n\s*\}", style, re.DOTALL)
    colours = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", text)) for text in (light, dark)]
    return {"light": colours[0], "dark": {**colours[0], **colours[1]}}


def luminance(colour):
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(first, second):
    low, high = sorted([luminance(first), luminance(second)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_and_bars_stand_out(theme):
    """Texts have the contrast of WCAG's level AA, 4.5, and parts of charts 3."""
    colours = themes()[theme]
    for text in ("text", "muted", "accent"):
        for ground in ("page", "card", "soft", "accent-soft"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for text in ("good", "poor"):
        assert contrast(colours[text], colours["card"]) >= 4.5, text
    for part in ("supports", "opposes", "fair", "unknown"):
        assert contrast(colours[part], colours["card"]) >= 3, part


def test_the_page_has_no_address_of_another_file():
    for name in ("report.html", "report.css", "report.js"):
        text = read_part(name).replace("http-equiv", "").replace("data:image", "")
        assert not re.search(r"https?:|url\(|@import|\.innerHTML|\beval\(|document\.write", text)

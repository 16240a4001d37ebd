import gzip
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_synset.datasets import _fashion_mnist, load_fashion_mnist

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def idx(values):
    """Return values as the content of an IDX file."""
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    return header + values.astype(np.uint8).tobytes()


@pytest.fixture(params=["", ".gz"], ids=["plain", "gzip"])
def folder(request, tmp_path):
    """Return a folder of small files, and what they hold."""
    rng, held = np.random.RandomState(0), {}
    for part, n_rows in (("train", 30), ("t10k", 12)):
        images = rng.randint(256, size=(n_rows, 28, 28))
        labels = rng.randint(10, size=n_rows)
        held[part] = images, labels
        for name, values in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx(values)
            if request.param:
                content = gzip.compress(content)
            (tmp_path / f"{part}-{name}-ubyte{request.param}").write_bytes(content)
    return tmp_path, held


@pytest.mark.parametrize(("subset", "part"), [("train", "train"), ("test", "t10k")])
def test_all_rows_come_in_their_order(folder, subset, part):
    path, held = folder
    images, labels = held[part]
    bunch = load_fashion_mnist(subset=subset, data_home=path)
    assert bunch.data.dtype == np.float32
    assert bunch.target.dtype == np.int64
    assert_allclose(bunch.data, images.reshape(len(images), 784) / 255, rtol=1e-6)
    assert_array_equal(bunch.target, labels)
    assert_array_equal(bunch.indices, np.arange(len(labels)))
    assert len(bunch.target_names) == 10 and "Fashion" in bunch.DESCR


def test_all_is_training_rows_before_test_rows(folder):
    path, held = folder
    X, y = load_fashion_mnist(subset="all", data_home=path, return_X_y=True)
    parts = [load_fashion_mnist(subset=each, data_home=path) for each in ("train", "test")]
    assert_array_equal(X, np.concatenate([part.data for part in parts]))
    assert_array_equal(y, np.concatenate([part.target for part in parts]))


def test_rows_are_drawn_without_replacement_and_repeatably(folder):
    path, _ = folder
    every = load_fashion_mnist(data_home=path)
    drawn, again, other = (
        load_fashion_mnist(data_home=path, n_rows=20, random_state=seed) for seed in (0, 0, 1)
    )
    assert len(set(drawn.indices)) == 20
    assert_array_equal(drawn.data, every.data[drawn.indices])
    assert_array_equal(drawn.target, every.target[drawn.indices])
    assert_array_equal(drawn.indices, again.indices)
    assert (drawn.indices != other.indices).any()


def test_images_are_the_same_numbers_with_a_channel(folder):
    path, held = folder
    X, _ = load_fashion_mnist(data_home=path, as_image=True, return_X_y=True)
    assert X.shape == (30, 1, 28, 28)
    assert_allclose(X[:, 0], held["train"][0] / 255, rtol=1e-6)


def test_the_folder_is_found_by_the_variable_and_among_scikit_learns_data(folder, monkeypatch):
    path, _ = folder
    expected = load_fashion_mnist(data_home=path).data
    monkeypatch.setattr(_fashion_mnist, "_DEBIAN", path / "none")
    monkeypatch.setenv("FASHION_MNIST", str(path))
    assert_array_equal(load_fashion_mnist().data, expected)
    monkeypatch.delenv("FASHION_MNIST")
    (path / "data").mkdir()
    (path / "data" / "fashion-mnist").symlink_to(path)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(path / "data"))
    assert_array_equal(load_fashion_mnist().data, expected)


def test_missing_files_name_the_package_to_install(folder, monkeypatch):
    path, _ = folder
    with pytest.raises(FileNotFoundError, match="dataset-fashion-mnist.*FASHION_MNIST"):
        load_fashion_mnist(data_home=path / "none")
    next(path.glob("t10k-labels*")).unlink()
    load_fashion_mnist(data_home=path)
    with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte"):
        load_fashion_mnist(subset="test", data_home=path)
    monkeypatch.setenv("FASHION_MNIST", str(path / "none"))
    with pytest.raises(FileNotFoundError, match="none"):
        load_fashion_mnist()


def test_damaged_files_are_refused(folder):
    path, held = folder
    file = next(path.glob("train-images*"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-50])
    with pytest.raises(ValueError, match="train-images.* is damaged"):
        load_fashion_mnist(data_home=path)
    file.write_bytes(b"not one byte of an image")
    with pytest.raises(ValueError, match="train-images"):
        load_fashion_mnist(data_home=path)
    file.write_bytes(whole)
    file = next(path.glob("train-labels*"))
    content = idx(held["train"][1][:-1])
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    with pytest.raises(ValueError, match="30 images, but 29 labels"):
        load_fashion_mnist(data_home=path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"subset": "t10k"}, "subset"), ({"n_rows": 31}, "n_rows"), ({"n_rows": 0}, "n_rows")],
)
def test_wrong_parameters_are_refused(folder, change, message):
    with pytest.raises(ValueError, match=message):
        load_fashion_mnist(data_home=folder[0], **change)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_debians_package_is_read(monkeypatch):
    monkeypatch.delenv("FASHION_MNIST", raising=False)
    for subset, n_rows in (("train", 60000), ("test", 10000)):
        bunch = load_fashion_mnist(subset=subset, n_rows=500, random_state=0)
        assert bunch.data.min() == 0 and bunch.data.max() == 1
        assert 0.2 < bunch.data.mean() < 0.35
        assert set(bunch.target) == set(range(10))
        assert bunch.indices.max() < n_rows
    _, y = load_fashion_mnist(subset="test", return_X_y=True)
    assert_array_equal(np.bincount(y), np.full(10, 1000))

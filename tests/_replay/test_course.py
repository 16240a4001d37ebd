import pytest
import torch

from sklearn_synset._replay.course import Course, n_moments_within_memory


def kept(n_epochs, n_moments):
    course = Course(1, n_moments)
    for epoch in range(1, n_epochs + 1):
        course.end_epoch({"w": torch.tensor([float(epoch)])}, torch.tensor([0]))
    return [int(moment["w"]) for moment in course.moments]


@pytest.mark.parametrize(
    ("n_epochs", "n_moments", "expected"),
    [(3, 4, [1, 2, 3]), (8, 4, [2, 4, 6, 8]), (20, 4, [4, 8, 12, 16, 20]), (5, 1, [4])],
)
def test_moments_are_evenly_spaced_up_to_the_end(n_epochs, n_moments, expected):
    assert kept(n_epochs, n_moments) == expected


def test_a_network_that_has_stopped_keeps_its_last_weights():
    course = Course(2, 4)
    course.end_epoch({"w": torch.tensor([1.0, 10.0])}, torch.tensor([0, 1]))
    course.end_epoch({"w": torch.tensor([20.0])}, torch.tensor([1]))
    assert [moment["w"].tolist() for moment in course.moments] == [[1, 10], [1, 20]]


def test_few_moments_of_large_networks_are_kept():
    assert n_moments_within_memory(16, 1000) == 16
    assert 1 <= n_moments_within_memory(16, 2**24) < 16
    assert n_moments_within_memory(16, 2**40) == 1

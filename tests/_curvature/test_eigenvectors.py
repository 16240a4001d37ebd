import torch

from sklearn_synset._curvature.eigenvectors import leading_curvature


def test_a_matrix_of_low_rank_is_found_exactly():
    generator = torch.Generator().manual_seed(0)
    vectors = torch.linalg.qr(torch.randn(30, 4, generator=generator).double())[0]
    expected = torch.tensor([9.0, 4.0, 1.0, 0.5]).double()
    matrix = vectors * expected @ vectors.T
    sketch = matrix @ torch.randn(30, 6, generator=generator).double()
    curvature, directions = leading_curvature(lambda columns: matrix @ columns, sketch, 4)
    torch.testing.assert_close(curvature, expected)
    torch.testing.assert_close((directions.T @ vectors).abs(), torch.eye(4).double())


def test_only_the_largest_are_returned():
    matrix = torch.diag(torch.tensor([1.0, 5.0, 3.0]).double())
    curvature, directions = leading_curvature(lambda columns: matrix @ columns, matrix, 2)
    torch.testing.assert_close(curvature, torch.tensor([5.0, 3.0]).double())
    torch.testing.assert_close(directions.abs(), torch.eye(3).double()[:, [1, 2]])

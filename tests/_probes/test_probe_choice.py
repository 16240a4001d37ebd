"""Which groups are probed."""

import pytest
import torch
from sklearn_synset._probes.probe_choice import draw_probes, n_to_choose_by


@pytest.mark.parametrize(("n_probes", "n_drawn"), [(0, 0), (5, 5), (9, 9), (20, 17)])
def test_every_probe_leaves_out_a_group_of_its_own(n_probes, n_drawn):
    kept = draw_probes(17, n_probes, torch.Generator().manual_seed(0))
    assert kept.shape == (n_drawn, 17)
    assert ((1 - kept).sum(1) == 1).all() and ((1 - kept).sum(0) <= 1).all()
    n = n_to_choose_by(len(kept))
    for part in (kept[:n], kept[n:]):
        assert (part.argmin(1).diff() > 0).all()


def test_all_groups_are_drawn_sooner_or_later():
    generator = torch.Generator().manual_seed(0)
    assert sum(draw_probes(5, 2, generator) == 0 for _ in range(50)).any(0).all()


def test_most_probes_report_and_a_single_one_never_chooses():
    for n_probes in range(30):
        n = n_to_choose_by(n_probes)
        assert n != 1 and n <= n_probes / 4

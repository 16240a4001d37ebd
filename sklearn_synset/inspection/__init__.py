"""Pictures of attributions and synsets (they need matplotlib), and a report (it needs jinja2)."""

from sklearn_synset.inspection._attribution_display import AttributionDisplay
from sklearn_synset.inspection._fidelity_display import FidelityDisplay
from sklearn_synset.inspection._matching_curve_display import MatchingCurveDisplay
from sklearn_synset.inspection._mislabel_display import MislabelDisplay
from sklearn_synset.inspection._removal_curve_display import RemovalCurveDisplay
from sklearn_synset.inspection._report._attribution_report import AttributionReport
from sklearn_synset.inspection._synset_display import SynsetDisplay

__all__ = [
    "AttributionDisplay",
    "AttributionReport",
    "FidelityDisplay",
    "MatchingCurveDisplay",
    "MislabelDisplay",
    "RemovalCurveDisplay",
    "SynsetDisplay",
]

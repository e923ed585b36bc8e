"""How published data sets and hospitals name their files: one reader a layout, each of a single path."""

from __future__ import annotations

from client.data.layouts.bids import BIDS
from client.data.layouts.brats2021 import BRATS_2021
from client.data.layouts.brats2023 import BRATS_2023
from client.data.layouts.cbsi import CBSI
from client.data.layouts.layout import Layout
from client.data.layouts.ucsf_pdgm import UCSF_PDGM

LAYOUTS: tuple[Layout, ...] = (BIDS, UCSF_PDGM, BRATS_2023, BRATS_2021, CBSI)
"""In order of preference where two understand equally many files."""

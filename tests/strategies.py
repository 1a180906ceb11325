"""Random inputs for the properties that hold for all of them; by `quick` the same in every run."""

from __future__ import annotations

import math

import torch
from hypothesis import settings
from hypothesis import strategies as st
from vectors import lengths

quick = settings(deadline=None, derandomize=True, max_examples=60)
shares = st.floats(0, 1)
reals = st.floats(-30, 30)


@st.composite
def tensors(draw, *shape: int, elements=reals) -> torch.Tensor:
    size = math.prod(shape)
    values = draw(st.lists(elements, min_size=size, max_size=size))
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


@st.composite
def masks(draw, rows: int, width: int) -> torch.Tensor:
    counts = draw(st.lists(st.integers(0, width), min_size=rows, max_size=rows))
    return lengths(*counts, width=width)

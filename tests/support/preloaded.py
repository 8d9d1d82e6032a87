"""What the server of `forked` imports once; nothing here may start a thread."""

import matplotlib
import scipy.stats  # noqa: F401
import sklearn.ensemble
import sklearn.linear_model  # noqa: F401
import sympy  # noqa: F401
import torch  # noqa: F401
import transformers.models.llava.modeling_llava  # noqa: F401

import bounds  # noqa: F401
import redundancy  # noqa: F401
import vlm  # noqa: F401

matplotlib.use("Agg")

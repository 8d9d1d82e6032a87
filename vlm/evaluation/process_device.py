"""The device of one process among several on a machine."""

from __future__ import annotations

import os

import torch


def own_device() -> str:
    """This process's own GPU under torchrun (LOCAL_RANK), else the first GPU, else the CPU."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"

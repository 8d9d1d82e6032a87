"""Imports what a sweep of the embedded model needs, once, for the processes that are forked from this one."""

from threading import RLock

import torch
from tqdm import tqdm

import vlm
from vlm.datasets import read

torch.set_num_threads(1)  # a fork has no other threads
tqdm.set_lock(RLock())  # in place of a semaphore of the system, which a killed process would leave behind
vlm.load("tiny")
next(read("tiny", limit=1))

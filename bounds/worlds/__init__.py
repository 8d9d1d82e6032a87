"""Finite instances (worlds) whose quantities are known exactly: theorems are checked and estimators tested on them."""

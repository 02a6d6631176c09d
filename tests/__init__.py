"""Tests mirror the tree. A package of its own, since one of the installed ones calls itself `tests` too."""

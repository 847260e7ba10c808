"""Tests of the repository engine."""

"""Decides what happens and when; never touches a cloud. Pure decisions, written to the catalog by thin edges."""

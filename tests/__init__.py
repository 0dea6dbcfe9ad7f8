"""Tests, one folder per package; a package itself, so that its scripts can be started by name."""

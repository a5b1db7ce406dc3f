"""Tests of what runs beside dockerd in a shared daemon's Pod."""

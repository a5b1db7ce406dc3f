"""Fuzzing of `admission.review`: bodies, what must hold of their answers, and the engines."""

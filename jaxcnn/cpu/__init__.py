"""Implementations and flags for CPUs only. They affect speed; results change by rounding alone."""

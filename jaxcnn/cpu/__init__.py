"""Forms and flags that only a CPU needs. Nothing else depends on what is in here for its results."""

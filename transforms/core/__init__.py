"""Pure functions: no Beam, network, files, clock, randomness, environment or logging."""

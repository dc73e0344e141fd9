"""The networks: an encoder per sensor, one shared head, whitening among the normalisations."""

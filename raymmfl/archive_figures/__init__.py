"""Pictures of an archive for people: samples, spectra, places, labels."""

"""From a trained model and rasters of any size to a map: windows, colours, the loop."""

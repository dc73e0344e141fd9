"""Archives: source rasters checked and packed once, read by memory map ever after."""

"""GeoTIFFs: all that touches rasterio."""

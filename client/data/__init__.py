"""From a folder of scans to cached slices: catalog, integrity, preprocessing, cache, splits, dataset."""

"""From a release and an incomplete case to completed images, segmentation and BBB status."""

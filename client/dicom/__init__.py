"""From a hospital's DICOM to cases: headers read, series recognised, a person decides, then de-identified NIfTI."""

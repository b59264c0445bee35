"""What the embedded calibration text is made of, and what it is cleansed of."""

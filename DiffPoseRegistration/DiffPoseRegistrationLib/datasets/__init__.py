"""X-rays with known poses: public data sets, and folders of one's own."""

"""What is done for a release: digests, the list of what is in the image, known vulnerabilities."""

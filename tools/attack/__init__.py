"""What strangers and Pod authors may send, against the built server in the memory of its manifest."""

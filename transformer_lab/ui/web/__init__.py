"""What is served besides callbacks, and who may ask."""

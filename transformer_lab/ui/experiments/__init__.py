"""The PCN Experiments tab."""

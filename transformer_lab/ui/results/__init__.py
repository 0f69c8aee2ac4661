"""What Compare and PCN Experiments share: a guess first, then charts, tables and a verdict."""

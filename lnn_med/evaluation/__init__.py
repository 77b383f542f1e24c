"""How good predictions are against references: metrics per structure, intervals over patients."""

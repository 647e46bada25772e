"""The control process: memberships in, health, explanations, metrics and the page out."""

"""What the pipeline is measured against, and how."""
